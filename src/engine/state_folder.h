// Where Zerrow remembers what it knows of earlier runs: the user's folder for state, for them
// alone.
//
// System calls on files; any thread.
#pragma once

#include <arrow/status.h>

#include <filesystem>
#include <string>

namespace zerrow::engine {

/// zerrow in $XDG_STATE_HOME or ~/.local/state. Empty: there is no home folder.
std::string StateFolder();

/// Makes the folder and those above it where they aren't there, for their user alone. Invalid: it,
/// or what it would be made in, belongs to somebody else; IOError.
arrow::Status MakeStateFolder(const std::filesystem::path& folder);

/// Invalid: the file or folder belongs to another user.
arrow::Status CheckOwner(const std::string& path, bool or_root = false);

}  // namespace zerrow::engine
