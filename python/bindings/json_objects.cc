#include "json_objects.h"

#include <cmath>
#include <string>

namespace nb = nanobind;

namespace zerrow::python {

namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;

void CheckDepth(int depth) {
  if (depth > kMaxDepth) throw nb::value_error("a message that is nested too deep");
}

nb::object Stolen(PyObject* made) {
  if (made == nullptr) throw nb::python_error();
  return nb::steal(made);
}

// UTF-8 has no form for lone surrogates, which stand for bytes of no encoding in file names.
std::string Text(nb::handle text) {
  const nb::object bytes =
      Stolen(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "backslashreplace"));
  return {PyBytes_AS_STRING(bytes.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr()))};
}

// What fits into neither 64 bits nor a double becomes null, like infinity.
json Number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

json Integer(nb::handle value) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow == 0) return number;
  const unsigned long long large = PyLong_AsUnsignedLongLong(value.ptr());
  if (!PyErr_Occurred()) return large;
  PyErr_Clear();
  const double approximate = PyLong_AsDouble(value.ptr());
  if (!PyErr_Occurred()) return approximate;
  PyErr_Clear();
  return nullptr;
}

json Convert(nb::handle object, int depth);

json Object(nb::handle dict, int depth) {
  json fields = json::object();
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  for (Py_ssize_t at = 0; PyDict_Next(dict.ptr(), &at, &key, &value);) {
    if (!PyUnicode_Check(key)) throw nb::type_error("a message's keys must be texts");
    fields[Text(key)] = Convert(value, depth);
  }
  return fields;
}

json Array(nb::handle sequence, int depth) {
  json items = json::array();
  const bool list = PyList_Check(sequence.ptr());
  const auto size = [&] {
    return list ? PyList_GET_SIZE(sequence.ptr()) : Py_SIZE(sequence.ptr());
  };
  for (Py_ssize_t i = 0; i < size(); ++i) {
    items.push_back(Convert(
        list ? PyList_GET_ITEM(sequence.ptr(), i) : PyTuple_GET_ITEM(sequence.ptr(), i), depth));
  }
  return items;
}

json Convert(nb::handle object, int depth) {
  CheckDepth(depth);
  PyObject* const value = object.ptr();
  if (value == Py_None) return nullptr;
  if (PyBool_Check(value)) return value == Py_True;
  if (PyUnicode_Check(value)) return Text(object);
  if (PyLong_Check(value)) return Integer(object);
  if (PyFloat_Check(value)) return Number(PyFloat_AS_DOUBLE(value));
  if (PyDict_Check(value)) return Object(object, depth + 1);
  if (PyList_Check(value) || PyTuple_Check(value)) return Array(object, depth + 1);
  throw nb::type_error((std::string(Py_TYPE(value)->tp_name) + " can't be sent").c_str());
}

nb::object Python(const json& value, int depth) {
  CheckDepth(depth);
  switch (value.type()) {
    case json::value_t::boolean:
      return nb::bool_(value.get<bool>());
    case json::value_t::number_integer:
      return nb::int_(value.get<int64_t>());
    case json::value_t::number_unsigned:
      return nb::int_(value.get<uint64_t>());
    case json::value_t::number_float:
      return nb::float_(value.get<double>());
    case json::value_t::string: {
      const auto& text = value.get_ref<const std::string&>();
      return Stolen(
          PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
    }
    case json::value_t::array: {
      nb::list items;
      for (const json& item : value) items.append(Python(item, depth + 1));
      return items;
    }
    case json::value_t::object: {
      nb::dict fields;
      for (const auto& [key, item] : value.items()) {
        fields[Python(json(key), depth)] = Python(item, depth + 1);
      }
      return fields;
    }
    default:
      return nb::none();
  }
}

}  // namespace

json ToJson(nb::handle object) { return Convert(object, 0); }

nb::object FromJson(const json& value) { return Python(value, 0); }

}  // namespace zerrow::python
