package rule

import (
	"fmt"
	"slices"
)

// Error is a fault of a pack, with its place.
type Error struct {
	Pack         string // the name that Parse was given
	Line, Column int    // from 1
	What         string // what is wrong, and what was meant if that can be guessed
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.Pack, e.Line, e.Column, e.What)
}

// place is where something stands in a pack's text.
type place struct {
	file         string
	line, column int
}

func (p place) errorf(format string, args ...any) error {
	return &Error{p.file, p.line, p.column, fmt.Sprintf(format, args...)}
}

// meant is a hint for a name that nobody knows: the nearest known one, or all of
// them when none is near.
func meant(name string, known []string) string {
	best, at := "", 1+max(1, len(name)/3)
	for _, k := range known {
		if d := distance(name, k); d < at {
			best, at = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	known = slices.Clone(known)
	slices.Sort(known)
	return fmt.Sprintf("known are %v", known)
}

// distance counts the letters to insert, delete, change or swap with their
// neighbour to make b of a; of names that are cut at 40 bytes.
func distance(a, b string) int {
	a, b = a[:min(len(a), 40)], b[:min(len(b), 40)]
	var d [41][41]int
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			switch {
			case i == 0 || j == 0:
				d[i][j] = i + j
			case a[i-1] == b[j-1]:
				d[i][j] = d[i-1][j-1]
			default:
				d[i][j] = 1 + min(d[i-1][j], d[i][j-1], d[i-1][j-1])
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					d[i][j] = min(d[i][j], d[i-2][j-2]+1)
				}
			}
		}
	}
	return d[len(a)][len(b)]
}
