"""Worker processes, from the call to the record and back.

    task             the contract: what a task is, and how many are kept in flight
    pool             LocalWorkers: the queue, and one slot for each worker
    slot             one thread of the service that takes tasks from the queue and waits for their results
    launcher         starts processes and talks to them
    zygote           the process that workers are forked from
    process          the loop in a worker
    quarantine       limits of one record, and the record that is blamed for a worker's death
    outcome          a value or an error, sent between processes
    parent_watch     ends a process with the one that started it
    files            memory files for results, progress files
    optional_imports keeps slow imports out of workers

Existing pools do not survive every death: one breaks all of ``concurrent.futures.ProcessPoolExecutor``. pebble's pool
(5.2) survives the death of a worker that runs a task, but breaks when an idle one is killed; its workers share locks
that a dying one may hold. With the start methods that are safe with threads both run the user's ``__main__`` again in
each worker.
"""
