"""The training loop and everything around it that does not care what is trained.

`config` settings and their checks; `settings` their names; `command_line` how files and options
become them; `training` a run from its settings to its folder; `loop` the loop, which drives a
`task` through its protocol; `run` the run folder; `checkpoint` what resuming needs, with
`randomness`, the state of all generators; `stopping` SIGTERM and Ctrl-C; `processes` those of a
run, `workers` those that load data for it; `ema` averaged weights; `batches` which rows a step
sees.
"""
