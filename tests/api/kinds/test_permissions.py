from spectrum.api.kinds.permissions import BY_WORD, GROUPS
from spectrum.core.tenants.tokens import PERMISSIONS


def test_each_permission_is_a_group():
    assert set(BY_WORD) == set(PERMISSIONS) and len(GROUPS) == len(PERMISSIONS)
    assert len({group.name for group in GROUPS.values()}) == len(PERMISSIONS)
    assert BY_WORD["apps:edit"].shown() == {
        "id": BY_WORD["apps:edit"].id,
        "name": "Spectrum Write",
        "scopes": ["com.cloudflare.api.account.zone"],
        "category": "network_services",
        "is_selectable": True,
    }
