"""``pumlc inspect`` of a table of documents."""

from typing import TYPE_CHECKING, Any

from pumlc.cli.problems import SHOWN, print_problems
from pumlc.errors import UserError
from pumlc.tables import table as as_table

if TYPE_CHECKING:
    from pumlc.cli.inspect import InspectOptions


def inspect_documents(options: "InspectOptions") -> Any:
    """Read and look, and print what was found.

    Raises:
        UserError: see `pumlc.text.data.readers.table.read_table`.
    """
    from pumlc.text.data.inspection import inspect_texts
    from pumlc.text.data.readers.table import Columns, read_table

    columns = Columns(
        options.text_column, options.label_column, options.id_column, options.group_column
    )
    table = read_table(options.labels, columns, separator=options.separator)
    tokenizer, reason = _tokenizer(options.encoder)
    inspection = inspect_texts(table, tokenizer, document_length=options.document_length)
    _print(inspection, reason, per_label=options.per_class)
    return inspection


def _tokenizer(encoder: str) -> tuple[Any, str]:
    """The tokenizer of the encoder, or why there is none."""
    from pumlc.text.models.build import model_source
    from pumlc.text.models.pretrained import load_tokenizer

    try:
        return load_tokenizer(model_source(encoder)), ""
    except UserError as error:
        return None, f"tokens are not counted: {error}"


def _print(inspection: Any, reason: str, *, per_label: bool) -> None:
    from pumlc.text.data.inspection import label_counts, split_counts

    table = inspection.table
    labels = label_counts(table)
    print(f"{table.source}: {table.kind}; labels {table.list_form}; {len(labels)} labels\n")
    rows = [[split, *counts.values()] for split, counts in split_counts(table).items()]
    print(as_table(["split", "documents", "without a label", "pairs"], rows))
    if table.splits is None:
        print("\nThe table has no column 'split': data.test, 0.2, is drawn in whole groups.")
    shown = labels if per_label else labels[:SHOWN]
    print("\n" + as_table(["label", "documents"], [list(pair) for pair in shown]))
    if inspection.lengths is not None:
        found = inspection.lengths
        print(f"\ntokens of a document: median {found.median}, longest {found.longest}")
    else:
        print(f"\n{reason}")
    print_problems(inspection.problems)
