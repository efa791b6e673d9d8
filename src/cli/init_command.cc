// `zerrow init`: a small project that runs as it is, to be changed into one's own.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/render.h"

namespace zerrow::cli {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kProjectFile = R"(name: {name}

# Set with `zerrow run --param long_from=30`, read by zerrow.Parameter("long_from") and, in filters
# and SQL, as $long_from.
parameters:
  long_from:
    type: int
    default: 45
    description: Minutes from which a trip counts as long

# Tables to read: a Parquet file, a glob or a folder each.
# sources:
#   stations: data/stations.parquet
)";

constexpr std::string_view kTrips =
    R"PY("""The data. It is made here, so that the project runs at once; usually it is a source."""

import random

import pyarrow as pa
import zerrow

CITIES = ["Amsterdam", "Berlin", "Lisbon", "Oslo"]


@zerrow.model()
def trips() -> pa.Table:
    """Ten thousand trips, the same each time."""
    dice = random.Random(7)
    count = 10_000
    return pa.table(
        {
            "city": pa.array([dice.choice(CITIES) for _ in range(count)]).dictionary_encode(),
            "minutes": pa.array([dice.randint(1, 90) for _ in range(count)], pa.int32()),
        }
    )


@zerrow.model()
def long_trips(
    trips: pa.Table = zerrow.Model("trips", filter="minutes >= $long_from"),
) -> pa.Table:
    """The engine applies the filter; what a function gets is already filtered."""
    print(f"{trips.num_rows} trips are long")
    return trips


@zerrow.expectation()
def trips_take_time(trips: pa.Table = zerrow.Model("trips", columns=["minutes"])) -> bool:
    """An expectation answers whether something holds; with --strict it fails the run."""
    return min(trips["minutes"].to_pylist()) > 0
)PY";

constexpr std::string_view kLongTripsByCity =
    R"(-- The file's name is the model's; its inputs are the tables that it names.
SELECT city, count(*) AS trips, avg(minutes) AS mean_minutes
FROM long_trips
GROUP BY city
ORDER BY city
)";

std::string ProjectName(const fs::path& folder) {
  std::string name = fs::weakly_canonical(folder).filename();
  std::replace_if(
      name.begin(), name.end(),
      [](unsigned char c) { return std::isalnum(c) == 0 && c != '-' && c != '_'; }, '_');
  return name.empty() ? "demo" : name;
}

arrow::Status WriteFile(const fs::path& path, std::string_view text) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  std::ofstream file(path);
  file << text;
  file.close();
  if (error || !file) return arrow::Status::IOError("can't write ", path.string());
  return arrow::Status::OK();
}

// All or nothing as far as names go: no file that is there is touched.
arrow::Status WriteProject(const fs::path& folder) {
  std::string project(kProjectFile);
  const std::string_view placeholder = "{name}";
  project.replace(project.find(placeholder), placeholder.size(), ProjectName(folder));
  const std::vector<std::pair<fs::path, std::string_view>> files = {
      {folder / "zerrow_project.yml", project},
      {folder / "models" / "trips.py", kTrips},
      {folder / "models" / "long_trips_by_city.sql", kLongTripsByCity}};
  std::error_code error;
  for (const auto& [path, text] : files) {
    if (!fs::exists(path, error)) continue;
    return arrow::Status::Invalid(path.string(), " is already there: choose another folder");
  }
  for (const auto& [path, text] : files) ARROW_RETURN_NOT_OK(WriteFile(path, text));
  return arrow::Status::OK();
}

}  // namespace

int InitProject(const Arguments& arguments) {
  const std::string& folder = arguments.new_project_dir;
  const arrow::Status status = WriteProject(folder);
  if (!status.ok()) {
    PrintTo(stderr, RenderError({.message = status.message()}, ".", StyleOf(STDERR_FILENO)));
    return status.IsInvalid() ? kExitUsage : kExitFailed;
  }
  PrintTo(stdout, fmt::format("wrote {0}/zerrow_project.yml and {0}/models/\n"
                              "run it: zerrow run -p {0} --preview 5\n",
                              folder));
  return kExitSuccess;
}

}  // namespace zerrow::cli
