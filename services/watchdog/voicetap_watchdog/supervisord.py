"""Runs supervisord so that it cannot outlive `supervise`, and tells its children whose children they are.

The only file that imports supervisor. It runs unpatched: whoever waits for it pokes its RPC (see rpc.py).
"""

import os

from voicetap.launch import die_with_parent


def main() -> None:
    die_with_parent()
    os.environ["VOICETAP_SUPERVISOR_PID"] = str(os.getpid())
    from supervisor import supervisord

    supervisord.main()


if __name__ == "__main__":
    main()
