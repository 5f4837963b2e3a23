"""The console: a progress bar while training, a table at the end; plain lines where there is no terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from purerl.report.records import Record, RunInformation, in_words, median, survivors
from purerl.report.sinks import Sink
from purerl.report.tables import number, summary_table


class _Remaining(ProgressColumn):
    """Seconds to go, from the groups seen so far (rich's own needs several updates within 30 seconds)."""

    def render(self, task: Task) -> Text:
        return Text(f"ETA {clock(task.fields['remaining'])}", style="cyan")


def console(terminal: Console | None = None) -> Sink:
    """Percent, iteration, environment steps, steps/s, latest median return and time to go; then the final table.

    On a terminal this is one live line; elsewhere (a log file, a pipe) one plain line per group of iterations.
    """
    output = Console() if terminal is None else terminal
    narrow = output.width < 120
    live: dict[str, Any] = {}  # host-side state of this one sink: what `open` was told, the bar, its task

    def open_(information: RunInformation) -> None:
        live.update(information=information)
        if not output.is_terminal:
            return
        columns = [TextColumn("[bold]{task.percentage:3.0f}%"), BarColumn(8 if narrow else 24)]
        columns += [TextColumn("{task.description}"), *([] if narrow else [TimeElapsedColumn()]), _Remaining()]
        bar = Progress(*columns, console=output)
        iterations = information.metadata["iterations"]
        waiting = f"iteration {information.iteration}/{iterations}"
        task = bar.add_task(waiting, total=iterations, completed=information.iteration, remaining=None)
        live.update(bar=bar, task=task)
        bar.start()

    def write(record: Record) -> None:
        information: RunInformation = live["information"]
        iterations = information.metadata["iterations"]
        seeds = information.metadata["seeds"]
        done = record.iteration - information.iteration
        seconds = max(record.train_seconds - information.train_seconds, 1e-9)
        rate = (record.env_steps - information.env_steps) * len(seeds) / seconds
        remaining = (iterations - record.iteration) * seconds / done
        speed = f"{number(record.env_steps)} steps · {number(rate, 3)} steps/s"
        latest = latest_return(record, seeds)
        text = f"iteration {record.iteration}/{iterations} · {speed} · {latest}"
        if "bar" in live:
            text = f"{speed} · {latest}" if narrow else text
            live["bar"].update(live["task"], completed=record.iteration, description=text, remaining=remaining)
        else:
            percent = 100 * record.iteration // iterations
            output.print(f"{percent:3d}% {text} · ETA {clock(remaining)}", highlight=False, soft_wrap=True)

    def close(summary: dict[str, Any] | None) -> None:
        if "bar" in live:
            live.pop("bar").stop()
        if summary is not None:
            output.print(summary_table(summary))

    def note(message: str) -> None:
        output.print(message, highlight=False, soft_wrap=True, markup=False)

    return Sink(open_, write, close, note)


def latest_return(record: Record, seeds: Sequence[int]) -> str:
    """'return 487.2 (median of 4 seeds, 1 diverged)': of the evaluation, else of training episodes."""
    evaluated = record.evaluation is not None
    values = record.evaluation["return_per_seed"] if record.evaluation else record.metrics.get("episode_return", [])
    middle = number(median(survivors(values, seeds, record.diverged_seeds))) if values else "-"
    counted = in_words(len(seeds), len(record.diverged_seeds))
    return f"{'return' if evaluated else 'training return'} {middle} (median of {counted})"


def clock(seconds: float | None) -> str:
    """Seconds as h:mm:ss; '-:--:--' when unknown."""
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
