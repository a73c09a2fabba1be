"""The HTTP face: time, clients, queues and disk layout. It never touches a pixel."""
