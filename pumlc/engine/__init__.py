"""The training loop and everything around it that does not care what is trained.

- `config`: settings and their checks. `settings`: their names. `command_line`: how files and
  options become settings.
- `training`: a run from its settings to its folder. `loop`: the training loop. `task`: the
  protocol through which the loop knows what it trains.
- `run`: the run folder. `checkpoint`: what resuming needs. `randomness`: the state of all random
  number generators. `foreign_code`: errors of readers that have no common type.
- `stopping`: SIGTERM and Ctrl-C. `processes`: the processes of a run. `workers`: those that load
  data for it.
- `ema`: averaged weights. `batches`: which rows a step sees.
"""
