#include "own_process.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>

namespace nb = nanobind;

namespace zerrow::python {

namespace {

constexpr std::array kLimits = {RLIMIT_AS, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE};
constexpr std::array kTimers = {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF};

// Made before user code runs. Afterwards Regain() takes back what would keep the worker from
// answering: limits, hooks and timers that act on whatever runs next. Needs the GIL, and the
// thread that made it.
class OwnProcess {
 public:
  OwnProcess()
      : builtins_(nb::module_::import_("builtins").attr("__dict__")),
        kept_builtins_(nb::steal(PyDict_Copy(builtins_.ptr()))) {
    for (size_t i = 0; i < kLimits.size(); ++i) ::getrlimit(kLimits[i], &limits_[i]);
  }

  // In a forked process that goes on in the other's stead.
  void Adopt() { pid_ = ::getpid(); }

  // False in a process that user code has forked, and that came back from it.
  bool Regain() const {
    if (::getpid() != pid_) return false;
    Py_SetRecursionLimit(recursion_limit_);
    PyEval_SetProfile(nullptr, nullptr);
    PyEval_SetTrace(nullptr, nullptr);
    RestoreLimits();
    SilenceSignals();
    if (PyDict_Update(builtins_.ptr(), kept_builtins_.ptr()) != 0) PyErr_Clear();
    return true;
  }

 private:
  void RestoreLimits() const {
    for (size_t i = 0; i < kLimits.size(); ++i) {
      rlimit limit{};
      ::getrlimit(kLimits[i], &limit);
      limit.rlim_cur = std::min(limits_[i].rlim_cur, limit.rlim_max);
      ::setrlimit(kLimits[i], &limit);
    }
  }

  // Handlers in Python would run, and raise, in the middle of the answer.
  void SilenceSignals() const {
    const itimerval never{};
    for (const auto timer : kTimers) ::setitimer(timer, &never, nullptr);
    for (int signal = 1; python_handler_ != SIG_DFL && signal < NSIG; ++signal) {
      if (PyOS_getsig(signal) != python_handler_) continue;
      PyOS_setsig(signal, signal == SIGCHLD ? SIG_DFL : SIG_IGN);
    }
    PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), nullptr);
    if (PyErr_CheckSignals() != 0) PyErr_Clear();  // what had arrived before
  }

  pid_t pid_ = ::getpid();
  const int recursion_limit_ = Py_GetRecursionLimit();
  // All signals that Python code handles have the same handler, at first only this one.
  const PyOS_sighandler_t python_handler_ = PyOS_getsig(SIGINT);
  std::array<rlimit, kLimits.size()> limits_{};
  nb::object builtins_;
  nb::object kept_builtins_;
};

}  // namespace

void BindOwnProcess(nb::module_& module) {
  nb::class_<OwnProcess>(module, "OwnProcess", "What a worker needs of its process.")
      .def(nb::init<>(), "To be made before user code runs.")
      .def("adopt", &OwnProcess::Adopt,
           "Makes it that of this process, which was forked from the one that it was made in.")
      .def("regain", &OwnProcess::Regain,
           "Undoes what user code left that would act on the code after it: limits, hooks, timers, "
           "signal handlers, replaced builtins. False in a process that user code has forked.");
}

}  // namespace zerrow::python
