#include "resource/core.h"
#include <gtest/gtest.h>
