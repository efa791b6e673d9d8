// The commands: each does what it was asked, prints, and returns the exit code.
//
// They write to stdout and stderr and install signal handlers, so one at a time, from the main
// thread. With OutputFormat::kJson exactly one document goes to stdout.
#pragma once

#include <arrow/result.h>
#include <arrow/status.h>

#include <cstdio>

#include "cli/arguments.h"

namespace zerrow::cli {

int RunPipeline(const Arguments& arguments);  // run and show
int Query(const Arguments& arguments);
int Explain(const Arguments& arguments);
int Info(const Arguments& arguments);
int Simulate(const Arguments& arguments);
int Version(const Arguments& arguments);
int StartEngine(const Arguments& arguments);
int StopEngine(const Arguments& arguments);
int EngineStatus(const Arguments& arguments);
int ListCache(const Arguments& arguments);
int ClearCache(const Arguments& arguments);
/// Prints an error that isn't a run's; the exit code that goes with it.
int Fail(const arrow::Status& status);
/// These become a Python program of ours and return only if that fails: zerrow._new_project,
/// zerrow._environments.command.
int InitProject(const Arguments& arguments);
int Environments(const Arguments& arguments);  // env ls and clear

/// Runs what the arguments say, by the engine that they say, and shows how it goes; what functions
/// print goes to `lines`. Errors as engine::Engine::Run.
arrow::Result<RunReport> RunEngine(const Arguments& arguments, FILE* lines);
int ExitCode(RunStatus status);

}  // namespace zerrow::cli
