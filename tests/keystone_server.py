"""A Keystone in a directory of its own, run with the Python of the environment that it is installed in.

Usage: python keystone_server.py DIRECTORY PORT PASSWORD. Makes its database (SQLite), its keys, the
project and the user ``admin`` with this password; says ``ready`` on stdout, and serves until it ends.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

_SETTINGS = """
[DEFAULT]
log_file = {directory}/keystone.log
[database]
connection = sqlite:///{directory}/keystone.db
[token]
provider = fernet
[fernet_tokens]
key_repository = {directory}/fernet
[fernet_receipts]
key_repository = {directory}/fernet
[credential]
key_repository = {directory}/credential
[identity]
password_hash_rounds = 4
[cache]
enabled = false
"""


def main(directory: Path, port: int, password: str) -> None:
    settings = directory / "keystone.conf"
    settings.write_text(_SETTINGS.format(directory=directory))
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(settings)
    # Keystone reads what stands there.
    sys.argv = sys.argv[:1]
    warnings.simplefilter("ignore")

    from cryptography.fernet import Fernet
    from keystone.cmd.bootstrap import Bootstrapper
    from keystone.common.sql import upgrades
    from keystone.server import backends, wsgi
    from werkzeug.serving import make_server

    for name in ("fernet", "credential"):
        (directory / name).mkdir(mode=0o700)
        for number in ("0", "1"):  # the next one, and the one that is used
            (directory / name / number).write_bytes(Fernet.generate_key())
    application = wsgi.initialize_public_application()
    upgrades.offline_sync_database_to_version()
    # The application has loaded them already, and they may be only once.
    backends.load_backends = dict
    maker = Bootstrapper()
    maker.admin_username, maker.admin_password = "admin", password
    maker.project_name, maker.admin_role_name = "admin", "admin"
    maker.service_name, maker.region_id = "keystone", "RegionOne"
    maker.public_url = f"http://127.0.0.1:{port}/v3"
    maker.internal_url = maker.admin_url = maker.public_url
    maker.immutable_roles = False
    maker.bootstrap()
    server = make_server("127.0.0.1", port, application, threaded=True)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
