"""The tables' schemas: what a sweep declares is there, in its place, with its unit."""

import pyarrow as pa
import pytest

from analysis.schema import FORMAT, TABLES, sweep_schema

CONFIG = {
    "config_model_name": "str",
    "config_depth": "int",
    "config_a": "float",
    "config_b": "bool",
}


def test_metadata_names_the_table_and_the_format():
    # a part that lost its folder must still say what it is
    schemas = sweep_schema()
    assert tuple(schemas) == TABLES
    for table, schema in schemas.items():
        assert schema.metadata[b"sgdscope.table"] == table.encode()
        assert schema.metadata[b"sgdscope.format"] == str(FORMAT).encode()


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("config_model_name", pa.string()),
        ("config_depth", pa.int64()),
        ("config_a", pa.float64()),
        ("config_b", pa.bool_()),
    ],
)
def test_config_columns_have_their_declared_type(column, kind):
    assert sweep_schema(CONFIG)["runs"].field(column).type == kind


def test_config_stands_between_the_axes_and_the_outcome():
    # readers see the setting before the results; the order is part of the schema
    names = sweep_schema(CONFIG)["runs"].names
    first = names.index("config_model_name")
    assert names[first : first + len(CONFIG)] == list(CONFIG)
    assert names.index("weight_decay") < first < names.index("status")


def test_a_monitor_gets_a_column_and_a_final_twin_with_its_unit():
    schemas = sweep_schema(None, {"hessian_trace": "1 / loss"})
    for table, name in (("snapshots", "hessian_trace"), ("runs", "final_hessian_trace")):
        field = schemas[table].field(name)
        assert field.type == pa.float64()
        assert field.metadata == {b"unit": b"1 / loss"}
    assert "hessian_trace" not in schemas["spectra"].names


@pytest.mark.parametrize(
    ("config", "monitors", "table"),
    [
        ({"lr": "float"}, {}, "runs"),  # a config column that hides an axis
        ({}, {"train_loss": "nats"}, "runs"),  # a monitor that hides a base column's final twin
        ({}, {"step": "1"}, "snapshots"),  # a monitor that hides a key
    ],
)
def test_a_column_declared_twice_is_refused(config, monitors, table):
    with pytest.raises(ValueError, match=f"table {table}: a column is declared twice"):
        sweep_schema(config, monitors)


def test_no_two_sweeps_share_a_schema_by_accident():
    # the declared columns are the only difference, and they make one
    assert not sweep_schema(CONFIG)["runs"].equals(sweep_schema()["runs"])
    assert sweep_schema(CONFIG)["curves"].equals(sweep_schema()["curves"])
