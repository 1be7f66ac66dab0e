"""Exports of shops as they are, mapped by settings: no rewriting, and nothing lost."""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_assets.core.names import ITEMS, REJECTS
from pipeline_assets.ingest.items import materialize_items
from pipeline_assets.ingest.rejects import materialize_rejects
from pipeline_assets.resources import Resources
from pipeline_assets.store.tables import WHOLE
from pipeline_assets_tests.conftest import HOUR, Clock, open_resources

SHOPIFY_COLUMNS = (
    "item_id=Handle,name=Title,kind='product',description=Body (HTML),"
    "document_url='https://shop.example/products/{Handle}',image_url=Image Src,"
    "event_time=@modified"
)
SHOPIFY_HEADER = (
    "Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,"
    "Option1 Value,Variant SKU,Variant Inventory Qty,Variant Price,Image Src,Image Position,"
    "Image Alt Text,Status"
)
SHOPIFY = [
    SHOPIFY_HEADER.split(","),
    ["linen-shirt", "Linen shirt", '<p>Light, "airy"\nlinen</p>', "Acme", "", "Shirts", "summer",
     "true", "Size", "S", "LS-S", "4", "49.00", "https://cdn.example/ls-1.jpg", "1", "", "active"],
    ["linen-shirt", "", "", "", "", "", "", "", "", "M", "LS-M", "0", "49.00",
     "https://cdn.example/ls-2.jpg", "2", "back", ""],
    ["linen-shirt", "", "", "", "", "", "", "", "", "L", "LS-L", "2", "49.00", "", "", "", ""],
    ["oak-stool", "Oak stool", "", "Acme", "", "Stools", "", "true", "Title", "Default Title",
     "OS-1", "9", "89.00", "", "", "", "active"],
    ["oak-stool", "", "", "", "", "", "", "", "", "", "", "", "",
     "https://cdn.example/os-1.jpg", "1", "", ""],
    ["untitled", "", "<p>draft</p>", "Acme", "", "", "", "false", "Title", "Default Title",
     "UT-1", "0", "", "", "", "", "draft"],
]  # fmt: skip
MAGENTO_COLUMNS = (
    "item_id=sku,name=name,kind='product',description=short_description,"
    "document_url='https://shop.example/{url_key}.html',"
    "image_url='https://shop.example/media/catalog/product{base_image}',event_time=updated_at"
)
MAGENTO_HEADER = (
    "sku,store_view_code,attribute_set_code,product_type,categories,product_websites,name,"
    "description,short_description,weight,product_online,visibility,price,url_key,base_image,"
    "created_at,updated_at,qty"
)
MAGENTO = [
    MAGENTO_HEADER.split(","),
    ["24-MB01", "", "Bag", "simple", "Default Category/Gear", "base", "Joust Duffle Bag",
     "<p>Sporty</p>", "A bag", "", "1", '"Catalog, Search"', "34.0000", "joust-duffle-bag",
     "/m/b/mb01-blue-0.jpg", "2024-05-01 12:30:00", "2026-03-02 06:30:00", "100.0000"],
    ["24-MB01", "de", "", "", "", "", "Joust Sporttasche", "", "", "", "", "", "", "", "", "",
     "", ""],
    ["24-MB04", "", "Bag", "simple", "Default Category/Gear", "base", "Strive Shoulder Pack",
     "", "", "", "1", "", "32.0000", "", "", "2024-05-01 12:30:00", "2026-03-02 06:59:59", "1"],
    ["24-MB05", "", "Bag", "simple", "", "base", "Wayfarer", "", "", "", "1", "", "45.0000",
     "wayfarer", "", "2024-05-01 12:30:00", "02.03.2026 06:30", "1"],
]  # fmt: skip


@contextmanager
def exported(tmp_path: Path, rows: Sequence[Sequence[str]], **settings: Any) -> Iterator[Resources]:
    """The resources of somebody who has such an export of 06:30."""
    feed = tmp_path / "export.csv"
    with feed.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    os.utime(feed, (0, datetime(2026, 3, 2, 6, 30, tzinfo=UTC).timestamp()))
    resources = open_resources(tmp_path / "data", Clock(), feed=str(feed), **settings)
    yield resources
    resources.close()


def read(resources: Resources) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The items of the hour by id, and the rejects."""
    materialize_items(resources, HOUR, "run")
    materialize_rejects(resources)
    items = resources.tables.read(ITEMS, HOUR).to_pylist()
    return {item["item_id"]: item for item in items}, resources.tables.read(
        REJECTS, WHOLE
    ).to_pylist()


def test_a_shopify_export_is_an_item_for_each_product(tmp_path: Path) -> None:
    """Rows of variants and of further pictures are their product's: the first value counts."""
    with exported(tmp_path, SHOPIFY, feed_columns=SHOPIFY_COLUMNS, feed_merge=True) as resources:
        items, rejects = read(resources)
    assert rejects == []
    shirt, stool, untitled = items["linen-shirt"], items["oak-stool"], items["untitled"]
    assert (shirt["status"], shirt["line"], shirt["name"]) == ("ok", 2, "Linen shirt")
    assert shirt["document_url"] == "https://shop.example/products/linen-shirt"
    assert shirt["image_url"] == "https://cdn.example/ls-1.jpg"
    assert stool["image_url"] == "https://cdn.example/os-1.jpg"
    assert (untitled["status"], untitled["error"]) == (
        "failed",
        "line 8 of export.csv: name is empty",
    )


def test_without_merging_a_shopify_export_says_what_is_wrong(tmp_path: Path) -> None:
    """Each row is an item, of which the last counts; none is lost."""
    with exported(tmp_path, SHOPIFY, feed_columns=SHOPIFY_COLUMNS) as resources:
        items, rejects = read(resources)
    assert items["linen-shirt"]["error"] == "line 5 of export.csv: name is empty"
    assert [(row["line"], row["item_id"]) for row in rejects] == [
        (2, "linen-shirt"),
        (4, "linen-shirt"),
        (6, "oak-stool"),
    ]


def test_a_magento_export_is_an_item_for_each_product(tmp_path: Path) -> None:
    """Its relative pictures and keys become URLs, where there are any; its times are UTC."""
    with exported(tmp_path, MAGENTO, feed_columns=MAGENTO_COLUMNS, feed_merge=True) as resources:
        items, rejects = read(resources)
    bag, pack = items["24-MB01"], items["24-MB04"]
    assert (bag["name"], bag["event_time"]) == (
        "Joust Duffle Bag",
        datetime(2026, 3, 2, 6, 30, tzinfo=UTC),
    )
    assert bag["image_url"] == "https://shop.example/media/catalog/product/m/b/mb01-blue-0.jpg"
    assert bag["document_url"] == "https://shop.example/joust-duffle-bag.html"
    assert (pack["image_url"], pack["document_url"]) == (None, None)
    [reject] = rejects
    assert (reject["line"], reject["item_id"]) == (5, "24-MB05")
    assert "event_time '02.03.2026 06:30' is not a time such as" in reject["problem"]
