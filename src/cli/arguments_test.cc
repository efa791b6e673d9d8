#include "cli/arguments.h"

#include <gtest/gtest.h>

#include <sstream>
#include <vector>

namespace zerrow::cli {
namespace {

std::variant<Arguments, Message> Parse(std::vector<const char*> words) {
  words.insert(words.begin(), "zerrow");
  return ParseArguments(static_cast<int>(words.size()), words.data());
}

Arguments Parsed(std::vector<const char*> words) {
  auto result = Parse(std::move(words));
  if (auto* message = std::get_if<Message>(&result)) ADD_FAILURE() << message->text;
  return std::holds_alternative<Arguments>(result) ? std::get<Arguments>(result) : Arguments{};
}

Message Refused(std::vector<const char*> words) {
  const auto result = Parse(std::move(words));
  if (std::holds_alternative<Arguments>(result)) {
    ADD_FAILURE() << "was accepted";
    return {};
  }
  return std::get<Message>(result);
}

TEST(ArgumentsTest, RunWithItsDefaults) {
  const Arguments arguments = Parsed({"run"});
  EXPECT_EQ(arguments.command, Command::kRun);
  EXPECT_EQ(arguments.run.project_dir, "");
  EXPECT_EQ(arguments.run.backend, BackendKind::kAuto);
  EXPECT_EQ(arguments.run.jobs, 0);
  EXPECT_EQ(arguments.run.preview_rows, 0);
  EXPECT_FALSE(arguments.run.strict);
  EXPECT_TRUE(arguments.run.content_reshare);
  EXPECT_TRUE(arguments.run.cache);
  EXPECT_EQ(arguments.cache_bytes, std::nullopt);
  EXPECT_FALSE(arguments.run.output_dir.has_value());
  EXPECT_FALSE(arguments.run.inline_model.has_value());
  EXPECT_EQ(arguments.format, OutputFormat::kText);
}

TEST(ArgumentsTest, AnInlineModelIsSelectedUnlessOthersAre) {
  const RunOptions alone = Parsed({"run", "--inline", "m"}).run;
  EXPECT_EQ(alone.inline_model, "m");
  EXPECT_EQ(alone.select, std::vector<std::string>{"m"});
  EXPECT_EQ(alone.inline_stdout, 1);
  const RunOptions among = Parsed({"run", "--inline", "m", "--select", "n", "-O", "json"}).run;
  EXPECT_EQ(among.select, std::vector<std::string>{"n"});
  EXPECT_EQ(among.inline_stdout, 2) << "the document is alone on stdout";
}

TEST(ArgumentsTest, BauplansNamesOfOptionsMeanTheSame) {
  const Arguments arguments = Parsed({"run", "-a", "x=1", "--arg", "y=2", "--param", "z=3"});
  const std::map<std::string, std::string> parameters = {{"x", "1"}, {"y", "2"}, {"z", "3"}};
  EXPECT_EQ(arguments.run.parameters, parameters);
  EXPECT_FALSE(Parsed({"run", "--no-strict"}).run.strict);
  EXPECT_EQ(Refused({"run", "--strict", "--no-strict"}).exit_code, kExitUsage);
}

TEST(ArgumentsTest, RunWithEverything) {
  const Arguments arguments = Parsed({"run",        "-p",
                                      "flights",    "--param",
                                      "origin=EWR", "--param",
                                      "eq=a=b",     "--param",
                                      "empty=",     "--select",
                                      "late",       "--select",
                                      "early",      "--jobs",
                                      "3",          "--backend",
                                      "full-copy",  "--strict",
                                      "--account",  "--output",
                                      "out",        "--preview",
                                      "5",          "-O",
                                      "json",       "--no-content-reshare"});
  EXPECT_EQ(arguments.run.project_dir, "flights");
  const std::map<std::string, std::string> parameters = {
      {"origin", "EWR"}, {"eq", "a=b"}, {"empty", ""}};
  EXPECT_EQ(arguments.run.parameters, parameters);
  EXPECT_EQ(arguments.run.select, (std::vector<std::string>{"late", "early"}));
  EXPECT_EQ(arguments.run.jobs, 3);
  EXPECT_EQ(arguments.run.backend, BackendKind::kFullCopy);
  EXPECT_TRUE(arguments.run.strict);
  EXPECT_TRUE(arguments.run.account);
  EXPECT_FALSE(arguments.run.content_reshare);
  EXPECT_EQ(arguments.run.output_dir, "out");
  EXPECT_EQ(arguments.run.preview_rows, 5);
  EXPECT_EQ(arguments.format, OutputFormat::kJson);
}

TEST(ArgumentsTest, TheFolderStandsAloneOrWithItsOption) {
  EXPECT_EQ(Parsed({"run", "flights", "--strict"}).run.project_dir, "flights");
  EXPECT_EQ(Parsed({"explain", "-O", "json", "flights"}).run.project_dir, "flights");
  EXPECT_EQ(Refused({"run", "flights", "-p", "others"}).exit_code, kExitUsage);
}

TEST(ArgumentsTest, ShowSelectsAndPreviewsItsModel) {
  const Arguments arguments = Parsed({"show", "--param", "x=1", "late"});
  EXPECT_EQ(arguments.command, Command::kShow);
  EXPECT_EQ(arguments.run.select, std::vector<std::string>{"late"});
  EXPECT_EQ(arguments.run.preview_rows, 10);
  EXPECT_EQ(Parsed({"show", "--select", "tag:x", "late", "+early", "--exclude", "e*"}).run.select,
            (std::vector<std::string>{"tag:x", "late", "+early"}));
  EXPECT_EQ(Refused({"show"}).exit_code, kExitUsage);
  EXPECT_NE(Refused({"show"}).text.find("MODEL"), std::string::npos);
}

TEST(ArgumentsTest, SelectionsAreOfRunShowAndExplain) {
  for (const char* command : {"run", "show", "explain"}) {
    const RunOptions run =
        Parsed({command, "--select", "+a", "--exclude", "b,tag:c", "--select", "d+"}).run;
    EXPECT_EQ(run.select, (std::vector<std::string>{"+a", "d+"})) << command;
    EXPECT_EQ(run.exclude, std::vector<std::string>{"b,tag:c"}) << command;
  }
}

TEST(ArgumentsTest, AQuerySaysWhereItsResultGoes) {
  const Arguments plain = Parsed({"query", "SELECT 1", "--param", "x=1"});
  EXPECT_EQ(plain.command, Command::kQuery);
  EXPECT_EQ(plain.query.sql, "SELECT 1");
  EXPECT_EQ(plain.query.format, "table");
  EXPECT_EQ(plain.query.max_rows, std::nullopt);
  EXPECT_EQ(plain.run.parameters.at("x"), "1");
  EXPECT_EQ(Parsed({"query", "--file", "q.sql", "-O", "csv", "--max-rows", "7"}).query.max_rows, 7);
  EXPECT_EQ(Parsed({"query", "SELECT 1", "--output", "a.b/c.parquet"}).query.format, "parquet");
  EXPECT_EQ(Parsed({"query", "SELECT 1", "--output", "c.csv", "-O", "json"}).query.format, "json");
  const std::vector<std::vector<const char*>> wrong = {
      {"query"},
      {"query", "SELECT 1", "--file", "q.sql"},
      {"query", "SELECT 1", "--output", "c.txt"},
      {"query", "SELECT 1", "--output", "c.csv", "-O", "table"},
      {"query", "SELECT 1", "-O", "text"},
      {"query", "SELECT 1", "--max-rows", "-1"},
      {"query", "SELECT 1", "--max-rows", "1", "--all-rows"}};
  for (const auto& words : wrong) {
    EXPECT_EQ(Refused(words).exit_code, kExitUsage) << ::testing::PrintToString(words);
  }
}

TEST(ArgumentsTest, UsageErrorsSayWhereToLook) {
  EXPECT_EQ(Refused({}).exit_code, kExitUsage);
  const Message unknown = Refused({"run", "--jbos", "3"});
  EXPECT_EQ(unknown.exit_code, kExitUsage);
  EXPECT_EQ(unknown.text,
            "zerrow run: there is no option --jbos; did you mean \"--jobs\"?\n"
            "Try: zerrow run --help\n");
  EXPECT_EQ(Refused({"engine", "start", "--foregruond=1"}).text,
            "zerrow engine start: there is no option --foregruond; did you mean \"--foreground\"?\n"
            "Try: zerrow engine start --help\n");
  EXPECT_EQ(Refused({"run", "a", "b"}).text,
            "zerrow run: 'b' is one word too many\nTry: zerrow run --help\n");
  const Message parameter = Refused({"run", "--param", "origin"});
  EXPECT_EQ(parameter.exit_code, kExitUsage);
  EXPECT_NE(parameter.text.find("NAME=VALUE"), std::string::npos) << parameter.text;
  EXPECT_EQ(Refused({"run", "--backend", "magic"}).exit_code, kExitUsage);
  for (const char* jobs : {"0", "-1", "4097", "1099511627776", "99999999999999999999", "x", ""}) {
    const Message refused = Refused({"run", "--jobs", jobs});
    EXPECT_EQ(refused.exit_code, kExitUsage) << jobs;
    EXPECT_NE(refused.text.find("--jobs: must be a whole number from 1 to 4096, not '" +
                                std::string(jobs) + "'"),
              std::string::npos)
        << refused.text;
  }
  EXPECT_EQ(Refused({"show"}).exit_code, kExitUsage);
}

TEST(ArgumentsTest, EmptyValuesArentIgnored) {
  EXPECT_EQ(Refused({"run", "flights", "--output", ""}).text,
            "zerrow run: --output: is empty: give it a value, or leave it out\n"
            "Try: zerrow run --help\n");
  EXPECT_EQ(Refused({"init", ""}).text,
            "zerrow init: DIR: is empty: give it a value\nTry: zerrow init --help\n");
  const std::vector<std::vector<const char*>> wrong = {{"run", "--output="},
                                                       {"run", ""},
                                                       {"run", "-p", ""},
                                                       {"run", "--inline", ""},
                                                       {"run", "--select", "m", "--select", ""},
                                                       {"run", "--exclude", ""},
                                                       {"run", "--engine", ""},
                                                       {"run", "--memory-limit", ""},
                                                       {"show", "m", ""},
                                                       {"query", ""},
                                                       {"query", "SELECT 1", "--output", ""},
                                                       {"query", "--file", ""},
                                                       {"engine", "start", "--spill-dir", ""},
                                                       {"simulate", ""},
                                                       {"simulate", "t.csv", "--expect", ""}};
  for (const auto& words : wrong) {
    EXPECT_EQ(Refused(words).exit_code, kExitUsage) << ::testing::PrintToString(words);
  }
}

TEST(ArgumentsTest, TheCachesOptions) {
  EXPECT_FALSE(Parsed({"run", "--no-cache"}).run.cache);
  EXPECT_EQ(Parsed({"run", "--cache-size", "2GiB"}).cache_bytes, int64_t{2} << 30);
  EXPECT_EQ(Parsed({"engine", "start", "--cache-size", "10MB"}).cache_bytes, 10'000'000);
  EXPECT_EQ(Parsed({"show", "m", "--cache-size", "0"}).cache_bytes, 0);
  EXPECT_EQ(Parsed({"cache", "ls"}).command, Command::kCacheList);
  EXPECT_EQ(Parsed({"cache", "clear", "-O", "json"}).format, OutputFormat::kJson);
  for (const char* size : {"much", "-1", "1.5", "20000000000GiB", ""}) {
    const Message refused = Refused({"run", "--cache-size", size});
    EXPECT_EQ(refused.exit_code, kExitUsage) << size;
    EXPECT_NE(refused.text.find("--cache-size"), std::string::npos) << refused.text;
  }
  EXPECT_NE(Refused({"run", "--cache-size", "much"}).text.find("or a unit as in 1GB or 512MiB"),
            std::string::npos);
  EXPECT_EQ(Refused({"cache"}).exit_code, kExitUsage);
}

TEST(ArgumentsTest, UnknownCommandsNameTheLikelyOne) {
  const Message unknown = Refused({"explian"});
  EXPECT_EQ(unknown.exit_code, kExitUsage);
  EXPECT_EQ(
      unknown.text,
      "zerrow: there is no command 'explian'; did you mean \"explain\"?\nTry: zerrow --help\n");
  EXPECT_EQ(
      Refused({}).text,
      "zerrow: a command is missing: run, show, query, engine, cache, env, simulate, explain, "
      "init, info, version\n"
      "Try: zerrow --help\n");
}

TEST(ArgumentsTest, HelpHasExamples) {
  const Message help = Refused({"--help"});
  EXPECT_EQ(help.exit_code, kExitSuccess);
  EXPECT_NE(help.text.find("Examples:"), std::string::npos);
  for (const char* command : {"run", "show", "query", "explain"}) {
    std::istringstream lines(Refused({command, "--help"}).text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  }
  const Message run = Refused({"run", "--help"});
  EXPECT_EQ(run.exit_code, kExitSuccess);
  EXPECT_NE(run.text.find("--inline"), std::string::npos);
  EXPECT_EQ(Refused({"--version"}).text.substr(0, 7), "zerrow ");
}

}  // namespace
}  // namespace zerrow::cli
