# What the console says of the tests, in short: a line for each program, and what failed in full.
# Adds a line "PASSED FAILED" to the file `totals`.
/^ok /      { ok++; lines = ""; next }
/^skipped / { skipped++; lines = ""; print "  " $0; next }
/^failed /  { bad++; printf "%s", lines; lines = ""; print "  " $0; next }

# The end of a program's last line, by which init judges it
/^(OK|FAILED) [a-z]+/ { verdict = $1; if ($1 == "FAILED") printf "%s", lines; next }

/^# [a-z]+ took [0-9]+ s/ {
  if (verdict != "OK" && !bad) { bad = 1; printf "%s", lines }
  printf "%-12s %3d passed, %d failed, %d skipped, %d s\n", $2, ok, bad, skipped, $4
  passed += ok; failed += bad; failures[$2] = bad
  ok = bad = skipped = 0; lines = verdict = ""
  fflush()
  next
}

/^ZERROW VM: / {
  judged = 1
  if ($3 == "failed:") {
    for (i = 4; i <= NF; i++)
      if (!failures[$i]) { failed++; print "failed: " $i; printf "%s", lines; lines = "" }
  }
  next
}

# What is between two tests belongs to the second; the kernel's own log may be long.
{ if (length(lines) < 20000) lines = lines "    " $0 "\n" }

END {
  if (!judged) { failed++; print "The machine ended without a result."; printf "%s", lines }
  print passed + 0, failed + 0 >>totals
}
