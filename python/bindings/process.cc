// `zerrow._process`: the system calls that the zygote needs and Python 3.11 lacks, and a worker's
// hold on its own process.
//
// A module of its own, without Arrow: loading libarrow starts a thread, and a process with two
// threads may not enter a user namespace. Each function raises OSError.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "own_process.h"

namespace nb = nanobind;

namespace {

void Check(int result) {
  if (result >= 0) return;
  PyErr_SetFromErrno(PyExc_OSError);
  throw nb::python_error();
}

// Not Python's fork, after which a child tidies up: that copies 200 pages of a process that only
// waits.
int ForkReaper(const std::vector<int>& unneeded_fds) {
  const pid_t pid = ::fork();
  Check(pid);
  if (pid > 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const int fd : unneeded_fds) ::close(fd);
  // The kernel reaps every orphan then; signals from inside its namespace can't end pid 1.
  ::signal(SIGCHLD, SIG_IGN);
  while (true) ::pause();
}

const char* OrNull(const std::optional<std::string>& text) {
  return text ? text->c_str() : nullptr;
}

}  // namespace

NB_MODULE(_process, module) {
  module.doc() = "System calls that Python 3.11 lacks.";
  module.attr("CLONE_NEWUSER") = CLONE_NEWUSER;
  module.attr("CLONE_NEWPID") = CLONE_NEWPID;
  module.attr("CLONE_NEWNS") = CLONE_NEWNS;
  module.attr("MS_REC") = static_cast<int>(MS_REC);
  module.attr("MS_PRIVATE") = static_cast<int>(MS_PRIVATE);
  module.attr("MS_NOSUID_NODEV_NOEXEC") = static_cast<int>(MS_NOSUID | MS_NODEV | MS_NOEXEC);

  module.def(
      "unshare", [](int flags) { Check(::unshare(flags)); }, nb::arg("flags"));
  module.def(
      "setns", [](int fd, int flags) { Check(::setns(fd, flags)); }, nb::arg("fd"),
      nb::arg("flags"));
  module.def(
      "mount",
      [](const std::optional<std::string>& source, const std::string& target,
         const std::optional<std::string>& type, int flags) {
        Check(::mount(OrNull(source), target.c_str(), OrNull(type),
                      static_cast<unsigned long>(flags), nullptr));
      },
      nb::arg("source").none(), nb::arg("target"), nb::arg("type").none(), nb::arg("flags"));
  module.def(
      "die_with_parent", [](int signal) { Check(::prctl(PR_SET_PDEATHSIG, signal)); },
      nb::arg("signal"), "The signal that this process gets when its parent dies.");
  module.def(
      "adopt_orphans", [] { Check(::prctl(PR_SET_CHILD_SUBREAPER, 1)); },
      "Descendants whose parent dies become children of this process.");
  module.def("fork_reaper", ForkReaper, nb::arg("unneeded_fds"),
             "Forks a process that dies with this one and only reaps; its number.");
  module.def(
      "flush_stdio", [] { std::fflush(nullptr); },
      "Writes out what C code has printed: os._exit would lose it.");
  zerrow::python::BindOwnProcess(module);
}
