"""Jobs of a sweep on other processors or machines, started by joblib or submitit.

A job is a call of one function with the same arguments. What jobs share is the folder of the sweep:
each takes the cells that no other has (`pumlc.sweep.cells.run_cells`). So it does not matter when a
job starts, nor whether all of them do.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pumlc.errors import UserError

LauncherName = Literal["joblib", "submitit"]


def launch(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    *,
    name: LauncherName,
    jobs: int,
    settings: Mapping[str, Any],
    folder: Path,
) -> list[Any]:
    """Start jobs, wait for them, and return their results.

    Args:
        function: of a module, so that it can be sent to another process.
        arguments: of every job.
        name: the library that starts them.
        jobs: their number.
        settings: joblib: arguments of ``joblib.Parallel``, such as ``backend``; submitit: those of
            ``AutoExecutor.update_parameters``, such as ``timeout_min``, and ``cluster``.
        folder: of submitit's files; joblib has none.

    Raises:
        UserError: the library is not installed, it does not take a setting, or (submitit) a job
            ended without a result.
    """
    try:
        library = import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(f"launcher.name {name}: not installed; pip install {name}") from error
    start = {"joblib": _with_joblib, "submitit": _with_submitit}[name]
    return start(library, function, arguments, jobs, dict(settings), folder)


def _with_joblib(library, function, arguments, jobs, settings, folder) -> list[Any]:
    try:
        parallel = library.Parallel(n_jobs=jobs, **settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"launcher.settings {settings}: joblib refuses them: {error}") from error
    return list(parallel(library.delayed(function)(*arguments) for _ in range(jobs)))


def _with_submitit(library, function, arguments, jobs, settings, folder) -> list[Any]:
    try:
        executor = library.AutoExecutor(folder, cluster=settings.pop("cluster", None))
        executor.update_parameters(**settings)
    except (TypeError, ValueError, NameError, RuntimeError) as error:
        raise UserError(f"launcher.settings: submitit refuses them: {error}") from error
    started = [executor.submit(function, *arguments) for _ in range(jobs)]
    results, lost = [], []
    for job in started:
        error = job.exception()  # waits for its end
        if error is None:
            results.append(job.result())
        else:
            lost.append(f"job {job.job_id}: {error}")
    if lost:
        raise UserError(f"launcher submitit: {'; '.join(lost)} (logs in {folder})")
    return results
