#include "engine/plan.h"

#include <gtest/gtest.h>

namespace zerrow::engine {
namespace {

using nlohmann::json;

InputDescription Input(const std::string& model,
                       std::optional<std::vector<std::string>> columns = std::nullopt,
                       std::optional<std::string> filter = std::nullopt,
                       std::vector<std::string> filter_columns = {}) {
  return {model, model, std::move(columns), std::move(filter), std::move(filter_columns), 7};
}

ModelDescription Model(const std::string& name, std::vector<InputDescription> inputs) {
  ModelDescription model;
  model.name = name;
  model.file = "models.py";
  model.line = 3;
  model.function = name;
  model.inputs = std::move(inputs);
  return model;
}

Description Project(std::vector<ModelDescription> models) {
  Description description;
  description.name = "test";
  description.sources = {{"flights",
                          {{"/data/f.parquet", {}}},
                          {{"a", "int64"}, {"b", "string"}, {"c", "date32"}},
                          "p.yml",
                          2}};
  description.models = std::move(models);
  return description;
}

std::vector<std::string> Names(const Plan& plan) {
  std::vector<std::string> names;
  for (const auto& node : plan.nodes) names.push_back(node.name);
  return names;
}

std::vector<std::string> Errors(const PlanResult& result) {
  std::vector<std::string> errors;
  for (const auto& error : result.errors) errors.push_back(error.ToString());
  return errors;
}

using Texts = std::vector<std::string>;

TEST(Plan, OrdersModelsAfterTheirInputs) {
  const auto result =
      MakePlan(Project({Model("last", {Input("mid")}), Model("mid", {Input("flights")})}), {});
  ASSERT_EQ(Errors(result), Texts{});
  EXPECT_EQ(Names(result.plan), (Texts{"flights", "mid", "last"}));
  EXPECT_EQ(result.plan.nodes[0].consumers, std::vector<size_t>{1});
  EXPECT_FALSE(result.plan.nodes[1].final_model);
  EXPECT_TRUE(result.plan.nodes[2].final_model);
}

TEST(Plan, ErrorsOfFilesAndOfTheGraphAreToldAtOnce) {
  Description description = Project({Model("a", {Input("lost")}), Model("b", {Input("flihgts")}),
                                     Model("c", {Input("d")}), Model("d", {Input("c")})});
  description.errors = {{.message = "it has two names", .model = "lost"}};
  description.broken = {"lost"};
  RunOptions options;
  options.inline_model = "lost";
  EXPECT_EQ(Errors(MakePlan(description, options)),
            (Texts{"lost: it has two names",
                   "models.py:7: b: unknown input \"flihgts\"; did you mean \"flights\"?",
                   "models.py:3: c: models depend on each other in a cycle: c -> d -> c"}));
  description.broken = {"*"};
  description.models = {Model("b", {Input("flihgts")})};
  description.models[0].parameters = {{"origin", "origin"}};
  EXPECT_EQ(Errors(MakePlan(description, {})), Texts{"lost: it has two names"});
  description.models.clear();
  options.select = {"nobody"};
  EXPECT_EQ(Errors(MakePlan(description, options)), Texts{"lost: it has two names"});
}

TEST(Plan, WhatRunsInlineIsAPythonModelThatIsSelected) {
  const Description description = Project({Model("a", {Input("flights")}), Model("b", {})});
  const auto said = [&](Description of, std::vector<std::string> select) {
    RunOptions options;
    options.select = std::move(select);
    options.inline_model = "a";
    return Errors(MakePlan(of, options));
  };
  EXPECT_EQ(said(description, {}), Texts{});
  EXPECT_EQ(said(description, {"b"}),
            Texts{"models.py:3: a: the model to run inline isn't selected"});
  Description other = description;
  other.models[0].function = "";
  other.models[0].kind = ModelKind::kSql;
  EXPECT_EQ(said(other, {}).size(), 1U);
  other.models.erase(other.models.begin());
  EXPECT_EQ(said(other, {}), Texts{"unknown model \"a\" to run inline; did you mean \"b\"?"});
}

TEST(Plan, SourcesCantBeNamedAsTheirFiltersAre) {
  Description description = Project({Model("m", {Input("flights")})});
  description.sources.push_back({"flights#2", {{"/data/g.parquet", {}}}, {}, "p.yml", 4});
  EXPECT_EQ(Errors(MakePlan(description, {})),
            Texts{"p.yml:4: the source \"flights#2\" needs a name without #"});
}

TEST(Plan, ReadsASourceOnceWithWhatEachReaderNeeds) {
  const auto result = MakePlan(
      Project({Model("w", {Input("flights", Texts{"b", "a"})}), Model("x", {Input("flights")}),
               Model("y", {Input("flights", Texts{"a", "b"})})}),
      {});
  ASSERT_EQ(Errors(result), Texts{});
  EXPECT_EQ(Names(result.plan), (Texts{"flights", "w", "x", "y"}));
  const auto& nodes = result.plan.nodes;
  EXPECT_EQ(nodes[0].consumers, (std::vector<size_t>{1, 2, 3}));
  EXPECT_EQ(nodes[0].reads, (std::vector<SourceRead>{{Texts{"a", "b"}, {}}, {}}));
  EXPECT_EQ(nodes[1].inputs[0].read, 0u);
  EXPECT_EQ(nodes[1].inputs[0].columns, (Texts{"b", "a"})) << "in the order asked for";
  EXPECT_EQ(nodes[2].inputs[0].read, 1u);
  EXPECT_EQ(nodes[3].inputs[0].read, 0u);
  EXPECT_EQ(nodes[3].inputs[0].columns, std::nullopt);
}

TEST(Plan, FiltersASourceOnceForThoseWhoWantTheSame) {
  const auto result =
      MakePlan(Project({Model("x", {Input("flights", Texts{"b"}, "a > 1", {"a"})}),
                        Model("y", {Input("flights", std::nullopt, "a > 1", {"a"})}),
                        Model("z", {Input("flights", Texts{"b"}, "a > 1", {"a"})}),
                        Model("u", {Input("flights", Texts{"a", "b"})})}),
               {});
  ASSERT_EQ(Errors(result), Texts{});
  const auto& nodes = result.plan.nodes;
  EXPECT_EQ(Names(result.plan), (Texts{"flights", "flights#2", "x", "flights#3", "y", "z", "u"}));
  EXPECT_EQ(nodes[0].reads, (std::vector<SourceRead>{{Texts{"a", "b"}, "a > 1"},
                                                     {std::nullopt, "a > 1"},
                                                     {Texts{"a", "b"}, std::nullopt}}));
  EXPECT_EQ(nodes[1].kind, ModelKind::kFilter);
  EXPECT_EQ(nodes[1].inputs[0].filter, "a > 1");
  EXPECT_EQ(nodes[1].inputs[0].columns, Texts{"b"});
  EXPECT_EQ(nodes[1].consumers, (std::vector<size_t>{2, 5}));
  EXPECT_EQ(nodes[2].inputs[0].filter, std::nullopt) << "the filter's node has done it";
  EXPECT_EQ(nodes[3].inputs[0].read, 1u);
  EXPECT_FALSE(nodes[1].final_model);
}

TEST(Plan, DictionariesAreReadsAndFiltersOfTheirOwn) {
  const auto input = [](std::optional<std::string> filter, Dictionaries dictionary) {
    InputDescription described = Input("flights", std::nullopt, std::move(filter), {"a"});
    described.dictionary = dictionary;
    return described;
  };
  const auto result =
      MakePlan(Project({Model("never", {input({}, Dictionaries::kNever)}),
                        Model("auto", {input({}, Dictionaries::kAuto)}),
                        Model("always", {input({}, Dictionaries::kAlways)}),
                        Model("never_some", {input("a > 1", Dictionaries::kNever)}),
                        Model("always_some", {input("a > 1", Dictionaries::kAlways)})}),
               {});
  ASSERT_EQ(Errors(result), Texts{});
  const auto& nodes = result.plan.nodes;
  EXPECT_EQ(nodes[0].reads,
            (std::vector<SourceRead>{
                {{}, {}, false}, {{}, {}, true}, {{}, "a > 1", false}, {{}, "a > 1", true}}));
  EXPECT_EQ(Names(result.plan), (Texts{"flights", "never", "auto", "always", "flights#2",
                                       "never_some", "flights#3", "always_some"}));
  EXPECT_EQ(nodes[3].inputs[0].read, 1u);
  EXPECT_EQ(nodes[3].inputs[0].dictionary, Dictionaries::kAlways);
  EXPECT_EQ(nodes[4].inputs[0].dictionary, Dictionaries::kNever);
  EXPECT_EQ(nodes[6].inputs[0].dictionary, Dictionaries::kAuto) << "only what the cache has";
  EXPECT_EQ(nodes[7].inputs[0].dictionary, Dictionaries::kAlways);
}

TEST(Plan, AllOfASelectedSourceIsItsFirstRead) {
  RunOptions options;
  options.select = {"flights", "x"};
  const auto result =
      MakePlan(Project({Model("x", {Input("flights", Texts{"b"}, "a > 1", {"a"})})}), options);
  ASSERT_EQ(Errors(result), Texts{});
  EXPECT_EQ(result.plan.nodes[0].reads[0], SourceRead{});
  EXPECT_EQ(result.plan.nodes[0].reads.size(), 2u);
}

TEST(Plan, NamesTheWholeCycleOnceEach) {
  const auto result = MakePlan(
      Project({Model("a", {Input("c")}), Model("b", {Input("a")}), Model("c", {Input("b")}),
               Model("after", {Input("a")}), Model("self", {Input("self")})}),
      {});
  EXPECT_EQ(Errors(result),
            (Texts{"models.py:3: a: models depend on each other in a cycle: a -> b -> c -> a",
                   "models.py:3: self: models depend on each other in a cycle: self -> self"}));
}

TEST(Plan, CollectsErrorsWithTheirPlaces) {
  auto check = Model("check", {Input("good")});
  check.kind = ModelKind::kExpectation;
  auto declared = Model("declared", {Input("flights")});
  declared.columns = {{{"x", "", std::nullopt}}};
  auto parametrized = Model("parametrized", {});
  parametrized.parameters = {{"origin", "origin"}};
  const auto result = MakePlan(
      Project({Model("good", {Input("flight")}), check, declared, parametrized,
               Model("bad_columns", {Input("flights", Texts{"aa", "b", "b"})}),
               Model("bad_declared", {Input("declared", Texts{"y"})}),
               Model("reads_check", {Input("check")}), Model("flights", {}), Model("good", {})}),
      {});
  EXPECT_EQ(
      Errors(result),
      (Texts{
          "models.py:3: flights: a source has the same name; rename the model",
          "models.py:3: good: a model of this name is already declared at models.py:3",
          "models.py:7: good: unknown input \"flight\"; did you mean \"flights\"?",
          "models.py:3: parametrized: unknown parameter \"origin\"",
          "models.py:7: bad_columns: unknown column \"aa\" of \"flights\"; did you mean \"a\"?",
          "models.py:7: bad_columns: the column \"b\" of \"flights\" is listed twice",
          "models.py:7: bad_declared: unknown column \"y\" of \"declared\"; did you mean \"x\"?",
          "models.py:7: reads_check: the input \"check\" is an expectation, which has no table"}));
}

TEST(Plan, RefusesNamesThatCantBeFiles) {
  for (const char* name : {"../x", "a/b", ".hidden", "a\nb", "flights#2"}) {
    EXPECT_EQ(MakePlan(Project({Model(name, {})}), {}).errors.size(), 1u) << name;
  }
  EXPECT_TRUE(MakePlan(Project({Model("späte flüge-1.x", {})}), {}).errors.empty());
}

TEST(Plan, SelectTakesAncestorsOnly) {
  RunOptions options;
  options.select = {"mid"};
  const auto project = Project({Model("mid", {Input("flights")}), Model("last", {Input("mid")}),
                                Model("other", {Input("flights")})});
  auto result = MakePlan(project, options);
  EXPECT_EQ(Names(result.plan), (Texts{"flights", "mid"}));
  EXPECT_TRUE(result.plan.nodes[1].final_model);
  options.select = {"mid", "last"};
  result = MakePlan(project, options);
  EXPECT_EQ(Names(result.plan), (Texts{"flights", "mid", "last"}));
  EXPECT_TRUE(result.plan.nodes[1].final_model) << "asked for, though another one consumes it";
  EXPECT_TRUE(result.plan.nodes[2].final_model);
  options.exclude = {"mid"};
  result = MakePlan(project, options);
  EXPECT_EQ(Names(result.plan), (Texts{"flights", "mid", "last"}));
  EXPECT_FALSE(result.plan.nodes[1].final_model) << "it is only needed";
  options.select = {"midd"};
  EXPECT_EQ(MakePlan(project, options).refused.message(),
            "unknown model \"midd\" in --select; did you mean \"mid\"?");
  options = {};
  options.select = {"mid"};
  options.keep = {"other"};
  EXPECT_EQ(MakePlan(project, options).refused.message(),
            "the model \"other\" to keep isn't selected");
  options = {};
  options.select = {"flights"};
  EXPECT_EQ(Names(MakePlan(project, options).plan), Texts{"flights"});
  EXPECT_TRUE(MakePlan(project, options).plan.nodes[0].final_model) << "it was asked for";
}

TEST(Plan, WhatFailedIsFinalAsInARunOfAll) {
  const Description project =
      Project({Model("mid", {Input("flights")}), Model("last", {Input("mid")}),
               Model("other", {Input("flights")})});
  RunOptions options;
  options.select = {"state:failed"};
  options.failed = {{"mid", "gone"}};
  const auto result = MakePlan(project, options);
  EXPECT_EQ(Names(result.plan), (Texts{"flights", "mid", "last"}));
  EXPECT_FALSE(result.plan.nodes[1].final_model);
  EXPECT_TRUE(result.plan.nodes[2].final_model);
}

TEST(Plan, ExplainsWhatAModelDeclares) {
  Description project = Project({Model("m", {Input("flights")})});
  project.models[0].deterministic = false;
  project.models[0].memory_bytes = 2'000'000'000;
  project.models[0].tags = {"core", "x"};
  Explanation explanation;
  explanation.plan = MakePlan(project, {}).plan;
  EXPECT_NE(
      explanation.ToText().find("final not deterministic tags: core, x memory: 2000000000 bytes\n"),
      std::string::npos)
      << explanation.ToText();
  const json nodes = explanation.ToJson()["nodes"];
  EXPECT_EQ(nodes[1]["deterministic"], false);
  EXPECT_EQ(nodes[1]["memory_bytes"], 2'000'000'000);
  EXPECT_EQ(nodes[0]["deterministic"], true);
  EXPECT_EQ(nodes[0]["memory_bytes"], nullptr);
}

TEST(Plan, ExplainsWhatColumnsAModelMakes) {
  Description project = Project({Model("m", {Input("flights")}), Model("n", {Input("m")})});
  project.models[0].columns = {{{"a", "int64", false, Texts{"flights.a"}},
                                {"b", "string", true, Texts{"flights.a", "flights.b"}},
                                {"c", "", {}, Texts{}},
                                {"d", "", {}, {}}}};
  Explanation explanation;
  explanation.plan = MakePlan(project, {}).plan;
  EXPECT_NE(explanation.ToText().find("    makes a int64 not null (from flights.a), "
                                      "b string (from flights.a, flights.b), c, d\n"),
            std::string::npos)
      << explanation.ToText();
  const json nodes = explanation.ToJson()["nodes"];
  EXPECT_EQ(nodes[1]["columns"], json::parse(R"([
      {"name": "a", "type": "int64", "nullable": false, "lineage": ["flights.a"]},
      {"name": "b", "type": "string", "nullable": true, "lineage": ["flights.a", "flights.b"]},
      {"name": "c", "type": null, "nullable": null, "lineage": []},
      {"name": "d", "type": null, "nullable": null, "lineage": null}])"));
  EXPECT_EQ(nodes[2]["columns"], nullptr);
}

TEST(Plan, ExplainsItself) {
  Explanation explanation;
  explanation.plan =
      MakePlan(Project({Model("m", {Input("flights", Texts{"b"}, "a > 1", {"a"})})}), {}).plan;
  EXPECT_EQ(explanation.ToText(),
            "flights  [source, p.yml:2]\n"
            "    reads 1 file\n"
            "    - columns: a, b  filter: a > 1\n"
            "flights#2  [filter, p.yml:2]\n"
            "    <- flights  columns: b  filter: a > 1\n"
            "m  [python, models.py:3] final\n"
            "    <- flights#2\n"
            "the project is imported once\n");
  EXPECT_EQ(explanation.ToJson()["nodes"].size(), 3u);
}

ModelDescription ModelIn(const std::string& package, const std::string& name,
                         std::vector<InputDescription> inputs) {
  ModelDescription model = Model(name, std::move(inputs));
  model.environment = {"3.11.2", {package}};
  return model;
}

TEST(Plan, ModelsThatAskForTheSameShareAnEnvironment) {
  const auto result = MakePlan(
      Project({Model("plain", {Input("flights")}), ModelIn("pandas==2.2.2", "a", {Input("plain")}),
               ModelIn("pandas==2.2.3", "b", {Input("plain")}),
               ModelIn("pandas==2.2.2", "c", {Input("plain")})}),
      {.select = {"a", "c"}});
  ASSERT_EQ(Errors(result), Texts{});
  ASSERT_EQ(Names(result.plan), (Texts{"flights", "plain", "a", "c"}));
  ASSERT_EQ(result.plan.environments.size(), 1u);
  EXPECT_EQ(result.plan.environments[0].packages, Texts{"pandas==2.2.2"});
  EXPECT_EQ(result.plan.nodes[1].environment, std::nullopt);
  EXPECT_EQ(result.plan.nodes[2].environment, 0u);
  EXPECT_EQ(result.plan.nodes[3].environment, 0u);
}

TEST(Plan, WhatAnEnvironmentCantFilterIsFilteredForIt) {
  const auto result =
      MakePlan(Project({Model("m", {Input("flights")}), Model("here", {Input("m", {}, "a > 1")}),
                        ModelIn("x==1", "there", {Input("m", Texts{"b"}, "a > 1", {"a"})}),
                        ModelIn("x==1", "all", {Input("m", Texts{"b"})})}),
               {});
  ASSERT_EQ(Errors(result), Texts{});
  EXPECT_EQ(Names(result.plan), (Texts{"flights", "m", "here", "m#2", "there", "all"}));
  const auto& nodes = result.plan.nodes;
  EXPECT_EQ(nodes[2].inputs[0].filter, "a > 1");
  EXPECT_EQ(nodes[3].kind, ModelKind::kFilter);
  EXPECT_EQ(nodes[3].environment, std::nullopt);
  EXPECT_EQ(nodes[3].inputs[0].node, 1u);
  EXPECT_EQ(nodes[3].inputs[0].columns, Texts{"b"});
  EXPECT_EQ(nodes[3].inputs[0].filter, "a > 1");
  EXPECT_EQ(nodes[3].source.table, "m");
  EXPECT_EQ(nodes[3].file(), "models.py");
  EXPECT_EQ(nodes[4].inputs[0].node, 3u);
  EXPECT_EQ(nodes[4].inputs[0].parameter, "m");
  EXPECT_EQ(nodes[4].inputs[0].filter, std::nullopt);
  EXPECT_EQ(nodes[5].inputs[0].node, 1u);
  EXPECT_FALSE(nodes[1].final_model);
}

TEST(Explanation, SaysWhichEnvironmentAModelHas) {
  Explanation explanation;
  explanation.plan = MakePlan(Project({ModelIn("x==1", "m", {Input("flights")})}), {}).plan;
  EXPECT_NE(
      explanation.ToText().find("m  [python, models.py:3] final\n"
                                "    in an environment of its own: Python 3.11.2 with x==1\n"),
      std::string::npos)
      << explanation.ToText();
  const json nodes = explanation.ToJson()["nodes"];
  EXPECT_EQ(nodes[0]["environment"], nullptr);
  EXPECT_EQ(nodes[1]["environment"], json({{"python", "3.11.2"}, {"packages", {"x==1"}}}));
}

json ValidDocument() {
  return json::parse(R"({"name": "p", "memory_limit_bytes": 3000000000,
    "parameters": [{"name": "n", "type": "int", "value": 3, "file": "p.yml", "line": 1}],
    "sources": [{"table": "t", "files": [{"path": "/a", "partition": null}], "columns": [{"name": "a", "type": "int64", "bytes": 80}],
                 "file": "p.yml", "line": 2}],
    "models": [{"name": "m", "kind": "python", "file": "m.py", "line": 4, "function": "m",
      "module": "m.py",
      "sql": null, "engine": null, "operator": null,
      "inputs": [{"parameter": "t", "model": "t", "columns": ["a"], "filter": null,
        "filter_columns": [], "dictionary": "never", "line": 5}],
      "parameters": [{"argument": "n", "name": "n"}], "contract": null,
      "columns": [{"name": "x", "type": "int64", "nullable": false, "lineage": ["t.a"]}],
      "timeout_s": 1.5,
      "memory_bytes": 2000000000, "deterministic": false,
      "environment": {"python": "3.11.2", "packages": ["x==1"]}, "code": "f00d", "imports": ["polars"],
      "tags": ["core"]}],
    "errors": [], "import_again": "", "broken": ["lost"]})");
}

TEST(Description, ParsesWhatADiscoveryWorkerSends) {
  const auto description = ParseDescription(ValidDocument()).ValueOrDie();
  ASSERT_EQ(description.models.size(), 1u);
  EXPECT_EQ(description.models[0].timeout_s, 1.5);
  EXPECT_EQ(description.models[0].memory_bytes, 2'000'000'000);
  EXPECT_FALSE(description.models[0].deterministic);
  EXPECT_EQ(description.models[0].code, "f00d");
  EXPECT_EQ(description.models[0].environment, (EnvironmentDescription{"3.11.2", {"x==1"}}));
  EXPECT_EQ(description.sources[0].columns[0].bytes, 80);
  EXPECT_EQ(description.models[0].inputs[0].columns, Texts{"a"});
  EXPECT_EQ(description.models[0].columns->at(0).type, "int64");
  EXPECT_EQ(description.models[0].columns->at(0).nullable, false);
  EXPECT_EQ(description.models[0].columns->at(0).lineage, Texts{"t.a"});
  EXPECT_EQ(description.models[0].column_names(), Texts{"x"});
  EXPECT_EQ(description.parameters[0].value, 3);
  EXPECT_TRUE(MakePlan(description, {}).errors.empty());
}

TEST(Description, NamesTheMalformedField) {
  const std::pair<const char*, json> changes[] = {
      {"/models/0/name", 3},
      {"/models/0/name", ""},
      {"/models/0/kind", "source"},
      {"/models/0/line", -1},
      {"/models/0/line", 1.5},
      {"/models/0/function", nullptr},
      {"/models/0/timeout_s", 0},
      {"/models/0/memory_bytes", 0},
      {"/models/0/memory_bytes", -5},
      {"/models/0/memory_bytes", 1.5},
      {"/models/0/memory_bytes", uint64_t{1} << 63},
      {"/models/0/memory_bytes", (int64_t{1} << 50) + 1},
      {"/models/0/deterministic", nullptr},
      {"/models/0/code", 7},
      {"/models/0/contract", 7},
      {"/models/0/columns", {"x"}},
      {"/models/0/columns/0/name", nullptr},
      {"/models/0/columns/0/nullable", 1},
      {"/models/0/columns/0/lineage", "t.a"},
      {"/models/0/environment", "3.11"},
      {"/models/0/environment/python", ""},
      {"/models/0/environment/packages/0", 1},
      {"/models/0/environment/pip", json::object()},
      {"/sources/0/columns/0/bytes", nullptr},
      {"/sources/0/columns/0/bytes", -1},
      {"/models/0/inputs", json::object()},
      {"/models/0/inputs/0/columns/0", nullptr},
      {"/models/0/inputs/0/surplus", 1},
      {"/models/0/inputs/0/dictionary", "sometimes"},
      {"/parameters/0/value", "three"},
      {"/parameters/0/type", "date"},
      {"/sources/0/files/0", "/a"},
      {"/sources/0/files/0/path", "relative"},
      {"/sources/0/files/0/partition", 3},
      {"/sources/0/files/0/partition", {{"year", json::array({1})}}},
      {"/sources/0/table", std::string("a\0b", 3)},
      {"/errors", nullptr},
  };
  for (const auto& [place, value] : changes) {
    json document = ValidDocument();
    document[json::json_pointer(place)] = value;
    const auto status = ParseDescription(document).status();
    EXPECT_TRUE(status.IsSerializationError()) << place << ": " << status.ToString();
  }
  json lacking = ValidDocument();
  lacking["models"][0].erase("imports");
  EXPECT_EQ(ParseDescription(lacking).status().message(),
            "project description: models[0]: lacks \"imports\"");
  EXPECT_FALSE(ParseDescription(json::array()).ok());
}

}  // namespace
}  // namespace zerrow::engine
