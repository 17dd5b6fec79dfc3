"""What Prometheus makes of a page."""

from prometheus_client.parser import text_string_to_metric_families


def samples(page):
    families = text_string_to_metric_families(page.decode())
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}
