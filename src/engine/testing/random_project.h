// Random projects and random wishes for their runs, now and then impossible ones.
#pragma once

#include "engine/description.h"
#include "engine/run.h"
#include "engine/testing/agenda.h"

namespace zerrow::engine::testing {

/// A DAG of about `models` models over a few sources.
Description RandomProject(Random& random, size_t models);

/// To run such a project.
RunRequest RandomRequest(Random& random, const Description& project);

}  // namespace zerrow::engine::testing
