// The limit of open files, raised for a while: to receive more descriptors than a program that
// expects small numbers should be able to open.
//
// What was opened meanwhile stays open and usable. The limit is the process's: one at a time. After
// a crash there is nothing to restore.
#pragma once

#include <sys/resource.h>

namespace zerrow::base {

/// While it lives the soft limit is the hard one, if the system lets it.
class RaisedFdLimit {
 public:
  RaisedFdLimit();
  ~RaisedFdLimit();
  RaisedFdLimit(const RaisedFdLimit&) = delete;
  RaisedFdLimit& operator=(const RaisedFdLimit&) = delete;

 private:
  rlimit before_{};
  bool raised_ = false;
};

}  // namespace zerrow::base
