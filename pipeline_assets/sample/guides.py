"""What the shop's guides say: a title and a stock of sentences for each of twelve topics."""

from typing import Final

TOPICS: Final[dict[str, tuple[str, ...]]] = {
    "Returns and refunds": (
        "You may send back any unused article within thirty days of its delivery.",
        "Refunds go to the card or account that paid, usually within five working days.",
        "Please keep the original box, because a damaged box makes inspection slower.",
        "Return postage is free where the fault is ours, and costs a flat fee otherwise.",
        "Gift cards and engraved articles cannot be returned once they have been used.",
    ),
    "Delivery times": (
        "Parcels leave our warehouse on the evening of the day on which you order.",
        "Standard delivery takes two to four working days on the mainland.",
        "Islands and mountain villages may have to wait one or two days longer.",
        "Furniture travels on pallets, and the driver rings before arriving.",
        "A tracking number is sent by mail as soon as the carrier has scanned the parcel.",
    ),
    "Caring for cotton": (
        "Wash cotton inside out at forty degrees with similar colours.",
        "A short spin leaves fewer creases, and a damp shirt is easier to iron.",
        "Dark cotton fades in the sun, so dry it in the shade.",
        "New garments may lose a little colour in the first two washes.",
        "Store folded cotton in a dry cupboard, away from direct light.",
    ),
    "Caring for leather": (
        "Wipe leather with a soft dry cloth after every use.",
        "Wax it twice a year, thinly, and polish it the following morning.",
        "Wet shoes dry best stuffed with paper and far from any radiator.",
        "Scratches on smooth leather often vanish under a drop of colourless cream.",
        "Suede wants a brush of rubber or brass and never any water.",
    ),
    "Size chart": (
        "Measure your chest under the arms and your waist where it is narrowest.",
        "Between two sizes, take the larger one for woven cloth and the smaller for knits.",
        "Our shoes are cut on a medium last and run half a size small.",
        "Hat sizes follow the circumference of the head in centimetres.",
        "Trouser lengths are given along the inner seam.",
    ),
    "Warranty terms": (
        "Lamps and watches carry a warranty of three years from the date of purchase.",
        "The warranty covers faults of material and making, not ordinary wear.",
        "Batteries and bulbs are consumables and are covered for six months.",
        "Keep the invoice, since its number is the key to every claim.",
        "We repair first, replace where repair fails, and refund where neither is possible.",
    ),
    "Assembling a chair": (
        "Lay all parts on a blanket and check them against the list on the first page.",
        "Fix the front legs loosely before you turn the seat over.",
        "Tighten the bolts only when all four legs stand level on the floor.",
        "Glue belongs on the wooden dowels alone and must rest for one night.",
        "After a month of use, tighten every bolt once more by a quarter turn.",
    ),
    "Lamp safety": (
        "Unplug the lamp before you change the bulb, and let it cool for ten minutes.",
        "Never exceed the wattage that is printed inside the shade.",
        "Keep at least half a metre between a hot bulb and any curtain.",
        "Only an electrician should shorten or replace the cable.",
        "Dust on the shade lowers the light by a fifth within one winter.",
    ),
    "Glass and ceramics": (
        "Our cups survive the dishwasher, yet gilded rims prefer to be washed by hand.",
        "Do not pour boiling water into a bottle that comes from the refrigerator.",
        "Tea stains leave porcelain when it soaks overnight in water and soda.",
        "Stack cups no more than three high, with paper between the painted ones.",
        "Small bubbles in blown glass are a mark of handwork and no fault.",
    ),
    "Paper and binding": (
        "The pages of our notebooks are sewn, so that they lie flat when open.",
        "Ink from a fountain pen dries on this paper in eight seconds.",
        "Cloth covers are cleaned with an eraser and never with water.",
        "Stand books upright and support the last one on the shelf.",
        "The paper is free of acid and will not turn yellow for decades.",
    ),
    "Our workshops": (
        "Two thirds of what we sell is made within a day's journey of our warehouse.",
        "Every workshop is visited twice a year by someone who knows the trade.",
        "Wages and hours are part of each contract, and the reports are public.",
        "Offcuts of cloth and leather become keyrings, patches and filling.",
        "We name the maker on the label wherever the maker agrees.",
    ),
    "Gift wrapping": (
        "We wrap presents in plain paper with a ribbon of cotton.",
        "Write up to two hundred letters for the card, and we shall copy them by hand.",
        "The invoice travels separately by mail and shows the giver alone.",
        "Several presents in one order can be wrapped one by one.",
        "Lamps and chairs are too large to wrap and come with a bow instead.",
    ),
}
