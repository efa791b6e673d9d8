// Where the user's resident engine listens: a socket in a folder that is the user's alone.
//
// $XDG_RUNTIME_DIR/zerrow, or /tmp/zerrow-UID where that isn't set. The folder is looked at once it
// is open, so that nobody can put another one in its place: a folder, no link, of this user, closed
// to all others. Any thread.
#pragma once

#include <arrow/result.h>

#include <string>

#include "base/fd.h"
#include "server/patience.h"

namespace zerrow::server {

/// The folder of this user, whether it is there or not.
std::string RuntimeFolder();

class Address {
 public:
  /// KeyError: there is no such folder. Invalid: it isn't safe, with what is wrong.
  static arrow::Result<Address> Open(const std::string& folder);
  /// Makes the folder where it is missing. Else as Open; IOError.
  static arrow::Result<Address> Make(const std::string& folder);

  /// Another handle to the same.
  arrow::Result<Address> Again() const;

  std::string socket_path() const { return folder_ + "/engine.sock"; }

  /// A connection that doesn't block. KeyError: nobody listens. IOError, and as `patience`.
  arrow::Result<base::UniqueFd> Connect(const Patience& patience = Patience()) const;

  /// What makes its holder the only engine here, for as long as it is open. AlreadyExists.
  arrow::Result<base::UniqueFd> Lock() const;
  /// A socket that listens, for this user only; what an engine that was killed has left is
  /// removed. The caller holds the lock. IOError.
  arrow::Result<base::UniqueFd> Listen() const;
  void RemoveSocket() const;

  /// Where an engine in the background writes what nobody would see. It may be that of one that
  /// runs: whoever holds the lock empties it. IOError.
  arrow::Result<base::UniqueFd> OpenLog() const;
  std::string log_path() const { return folder_ + "/engine.log"; }

 private:
  Address(std::string folder, base::UniqueFd fd) : folder_(std::move(folder)), fd_(std::move(fd)) {}

  std::string folder_;
  base::UniqueFd fd_;
};

}  // namespace zerrow::server
