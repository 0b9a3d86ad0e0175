package sim

import (
	"strconv"
	"strings"
)

// shellProblem returns why a text cannot be split into words like a shell command, with the error texts of Python's shlex, or "".
func shellProblem(text string) string {
	quote := rune(0)
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote == 0 && (r == '"' || r == '\''):
			quote = r
		case r == quote:
			quote = 0
		}
	}
	switch {
	case escaped && quote == 0:
		return "No escaped character"
	case quote != 0:
		return "No closing quotation"
	}
	return ""
}

// numericSet counts the members of a set such as "1-4,8".
func numericSet(text string) int {
	members := map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		from, to, found := strings.Cut(part, "-")
		if !found {
			to = from
		}
		first, err1 := strconv.Atoi(strings.TrimSpace(from))
		last, err2 := strconv.Atoi(strings.TrimSpace(to))
		if err1 != nil || err2 != nil {
			continue
		}
		for n := first; n <= last && n-first < maxVCPUs*2; n++ {
			members[n] = true
		}
	}
	return len(members)
}
