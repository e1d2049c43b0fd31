"""Commands that gp4u-server adds to `gp4u`. Only names and addresses: nothing is imported before it is called."""

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("gp4u_server.supervisor.up_command:up", "Start the whole marketplace on this machine"),
    "down": ("gp4u_server.supervisor.command:down", "Stop what `gp4u up` started"),
    "restart": ("gp4u_server.supervisor.command:restart", "Restart it part by part while jobs run on"),
    "status": ("gp4u_server.supervisor.command:status", "Show what `gp4u up` runs"),
    "admin": (
        "gp4u_server.admin_command:admin",
        "Look after a marketplace: check the ledger, rule on incidents",
    ),
    "demo": ("gp4u_server.demo.command:demo", "Kill, cut and revive demo nodes; run the failover story"),
}
