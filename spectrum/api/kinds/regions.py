"""Cloudflare's regions of load balancing, and the countries in each, by their codes of ISO 3166-1.

Cloudflare publishes the names of the regions, and that only the United States and Canada are divided; the countries of
a region follow the United Nations' geoscheme (M49).
"""

from typing import Any

ISO = "Country codes follow ISO 3166-1 alpha-2"
REGIONS: dict[str, frozenset[str]] = {
    region: frozenset(codes.split())
    for region, codes in {
        "WNAM": "CA US",
        "ENAM": "BM CA GL PM US",
        "WEU": "AD AT AX BE CH DE DK ES FI FO FR GB GG GI GR IE IM IS IT JE LI LU MC MT NL NO PT SE SJ SM VA",
        "EEU": "AL BA BG BY CZ EE HR HU LT LV MD ME MK PL RO RS RU SI SK UA XK",
        "NSAM": "AG AI AW BB BL BO BQ BR BS BZ CO CR CU CW DM DO EC GD GF GP GT GY HN HT JM KN KY LC MF MQ MS MX NI PA "
        "PE PR SR SV SX TC TT VC VE VG VI",
        "SSAM": "AR CL FK GS PY UY",
        "OC": "AS AU CC CK CX FJ FM GU HM KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS",
        "ME": "AE AM AZ BH CY GE IL IQ IR JO KW LB OM PS QA SA SY TR YE",
        "NAF": "BF BJ CF CI CM CV DJ DZ EG EH ER ET GH GM GN GQ GW LR LY MA ML MR NE NG SD SL SN SO SS ST TD TG TN UG",
        "SAF": "AO BI BW CD CG GA IO KE KM LS MG MU MW MZ NA RE RW SC SH SZ TF TZ YT ZA ZM ZW",
        "SAS": "AF BD BT IN KG KZ LK MV NP PK TJ TM UZ",
        "SEAS": "BN ID KH LA MM MY PH SG TH TL VN",
        "NEAS": "CN HK JP KP KR MN MO TW",
    }.items()
}


def countries_of(region: str) -> list[dict[str, Any]]:
    """Return the countries of a region as the API answers them."""
    return [{"country_code_a2": code} for code in sorted(REGIONS[region])]
