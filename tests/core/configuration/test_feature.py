from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.feature import CheckContext, Feature, Section


def test_a_feature_leaves_out_what_it_has_not():
    feature, app = Feature("bare"), App.model_construct()
    assert (feature.sections, feature.fixed) == ((), ())
    assert not [*feature.check(Config(), CheckContext({}, None, Config())), *feature.misfits(app)]
    assert feature.compile(Config(), {}) == feature.compile_app(app) == {}
    assert not [*feature.draws_in(Config(), Config(), {}), *feature.idle(Config())]


def test_an_object_has_its_article():
    assert [Section("", kind, App).one for kind in ("app", "pool")] == ["an app", "a pool"]


def test_what_depends_on_an_object_sees_whose_it_is():
    app = App.model_construct(name="a", zone="example.com")
    section = Section("apps", "app", App)
    assert section.shown_by(app)[2] == "example.com"
