"""The compared peers, one file each.

A peer has ``TITLE`` for tables, ``NEEDS`` and ``run(trainer)``. ``NEEDS`` has the modules it imports, and the packages
to install for each; a peer that needs ``augment`` runs in this project's environment, the others in that of the peers.
``run`` prepares, then calls ``trainer.train(batches)`` or reports begin and end itself.
"""
