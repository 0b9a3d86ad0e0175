package main

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want time.Duration
		fine bool
	}{
		{"what VirtRigaud's manager gives", []string{"-c", "sleep 15"}, 15 * time.Second, true},
		{"parts of a second", []string{"-c", " sleep  0.5 "}, 500 * time.Millisecond, true},
		{"no pause at all", []string{"-c", "sleep 0"}, 0, true},
		{"an interactive shell", nil, 0, false},
		{"a script", []string{"/script.sh"}, 0, false},
		{"two commands", []string{"-c", "sleep 1; id"}, 0, false},
		{"another command", []string{"-c", "cat /etc/virtrigaud/credentials/api_key"}, 0, false},
		{"a unit", []string{"-c", "sleep 15s"}, 0, false},
		{"a negative duration", []string{"-c", "sleep -1"}, 0, false},
		{"not a number", []string{"-c", "sleep NaN"}, 0, false},
		{"forever", []string{"-c", "sleep infinity"}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(tt.args)
			if got != tt.want || (err == nil) != tt.fine {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
