#include "base/fd_limit.h"

namespace zerrow::base {

RaisedFdLimit::RaisedFdLimit() {
  if (::getrlimit(RLIMIT_NOFILE, &before_) != 0 || before_.rlim_cur >= before_.rlim_max) return;
  const rlimit raised{before_.rlim_max, before_.rlim_max};
  raised_ = ::setrlimit(RLIMIT_NOFILE, &raised) == 0;
}

RaisedFdLimit::~RaisedFdLimit() {
  if (raised_) ::setrlimit(RLIMIT_NOFILE, &before_);
}

}  // namespace zerrow::base
