#include "cli/query_options.h"

#include <charconv>
#include <filesystem>
#include <string>
#include <system_error>

namespace zerrow::cli {

namespace {

constexpr std::string_view kQueryFooter = R"(Examples:
  zerrow query "SELECT carrier, count(*) FROM late_flights GROUP BY carrier"
  zerrow query -p flights --param origin=EWR --file late.sql --all-rows
  zerrow query "SELECT * FROM late_flights" --output late.parquet
  zerrow query "SELECT * FROM late_flights" -O json | jq '.rows[]'

The query is a SQL model of the project for this one run: it reads sources and models, which run if
it names them, has $name for parameters, and may begin with a line `-- zerrow: engine=duckdb`.
JSON is {"columns": [{"name", "type"}], "rows": [[...]], "total_rows": n}, its values as
docs/formats/rows.md says. What isn't printed as a table has all rows, unless told otherwise.)";

std::string CheckCount(const std::string& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && number >= 0 ? "" : "must be a whole number, not '" + text + "'";
}

}  // namespace

void AddQueryOptions(CLI::App* app, QueryOptions* options) {
  CLI::Option* sql = app->add_option("SQL", options->sql, "The query, one SELECT");
  sql->option_text(" ");
  app->add_option("--file", options->file, "Read the query from a file")
      ->option_text("FILE")
      ->excludes(sql);
  app->add_option("-O,--format", options->format,
                  "How to print the result: table (default), json, csv or parquet")
      ->option_text("FORMAT")
      ->check(CLI::IsMember({"table", "json", "csv", "parquet"}));
  app->add_option("--output", options->output,
                  "Write the result to a file; its name's end tells the format if -O doesn't")
      ->option_text("FILE");
  CLI::Option* most =
      app->add_option("--max-rows", options->max_rows, "How many rows (default: 10 of a table)");
  most->option_text("N")->check(CheckCount);
  app->add_flag("--all-rows", options->all_rows, "All rows, also of a table")->excludes(most);
  app->footer(std::string(kQueryFooter));
}

void CheckQueryOptions(QueryOptions* options) {
  if (options->sql.empty() && options->file.empty()) {
    throw CLI::RequiredError("the query, or --file");
  }
  if (options->format.empty() && !options->output.empty()) {
    const std::string end = std::filesystem::path(options->output).extension();
    if (end == ".json" || end == ".csv" || end == ".parquet") options->format = end.substr(1);
  }
  if (options->format.empty()) options->format = "table";
  if (options->format == "table" && !options->output.empty()) {
    throw CLI::ValidationError("--output",
                               "writes JSON, CSV or Parquet: say which with -O, or call the file "
                               "*.json, *.csv or *.parquet");
  }
}

}  // namespace zerrow::cli
