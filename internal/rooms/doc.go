// Package rooms holds the test that keeps the rooms of the house apart: which package may import which. It has
// no code of its own.
package rooms
