"""Worker processes, from the call to the record and back.

    slot         one place of the pool: a thread of the service that takes a task from the queue and sees it through
    launcher     starts processes and talks to them
    zygote       the process that workers are forked from
    worker       the loop in a worker
    quarantine   what a worker lets one record do, and who is blamed for its death
    outcome      a value or an error on its way between processes
    lifeline     how a process is tied to the life of the one that started it

Why not a pool that exists: one death breaks all of ``concurrent.futures.ProcessPoolExecutor``; pebble's pool (5.2)
survives the death of a worker that runs a task, but breaks when one is killed that runs none, its workers share locks
that one of them may take into its grave, and with the start methods that are safe beside threads both run the user's
``__main__`` again in each worker.
"""
