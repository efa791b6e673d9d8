"""Task "environment": sees to it that an environment with a model's packages is there.

No user code runs in its process; the packages are imported in others.
"""

from pathlib import Path

import pyarrow as pa
from zerrow._environments.preparing import Wanted, prepare
from zerrow._environments.store import Store
from zerrow._environments.uv import InstallError
from zerrow._worker.messages import Prepared, Result
from zerrow._worker.tasks import Answer, Task, TaskError


def run(task: Task) -> Answer:
    """Answers where it is."""
    body = task.body
    if not body["folder"]:
        raise TaskError("there is no folder to install its packages in: set HOME or XDG_CACHE_HOME")
    wanted = Wanted(body["python"], tuple(body["packages"]), tuple(body["models"]), pa.__version__)
    try:
        environment = prepare(Store(Path(body["folder"])), wanted, Path(body["scratch"]))
    except (InstallError, OSError) as problem:
        raise TaskError(f"installing {wanted} failed: {problem}") from None
    value = Prepared(
        folder=str(environment.folder),
        python=str(environment.python),
        package_folder=str(Store.link_package(environment.folder)),
    )
    return Answer(Result(op="result", value=value))
