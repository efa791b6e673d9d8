#include <gtest/gtest.h>
#include "resource/core.h"
