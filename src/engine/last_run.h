// What failed in the last run of a project, from one command to the next: for state:failed.
//
// A JSON file for each project in the user's folder for state (docs/formats/last_run.md), replaced
// as a whole at a run's end, so that a crash leaves the one before. It is trusted with nothing but
// names, which needn't be a project's. Reads and writes small files; any thread.
#pragma once

#include <arrow/result.h>

#include <string>
#include <vector>

#include "zerrow/run.h"

namespace zerrow::engine {

/// Notes the end of a run, if it got so far that something ran. Of a project's folder, here and
/// below, any path may be given. Invalid: the folder belongs to somebody else; IOError.
arrow::Status NoteLastRun(const std::string& project_dir, const RunReport& report);

/// The models that didn't succeed. Invalid: no run of the project is known, or the file is broken.
arrow::Result<std::vector<std::string>> FailedInLastRun(const std::string& project_dir);

/// Of a report: what failed, or didn't get to its end since the run was stopped.
std::vector<std::string> FailedModels(const RunReport& report);

}  // namespace zerrow::engine
