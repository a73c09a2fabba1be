"""What is compared, one file each.

A peer has ``TITLE`` for tables, ``NEEDS`` (modules it imports, and what pip is to install for each; one that needs
``augment`` runs in this project's environment, the others in that of the peers), and ``run(trainer)``: prepare, then
``trainer.train(batches)``, or say begin and end itself.
"""
