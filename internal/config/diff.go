package config

import "github.com/aymanbagabas/go-udiff"

// Diff is what differs of two texts, line by line, for people; "" where nothing does.
func Diff(before, after []byte) string {
	return udiff.Unified("before", "after", string(before), string(after))
}
