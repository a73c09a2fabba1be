"""HTTP interface: owns time, clients, queues and disk layout. It never touches a pixel."""
