// Command prestop is /bin/sh in the image, which has no shell.
//
// VirtRigaud's manager runs /bin/sh -c "sleep 15" in every provider's pod before it stops the pod, so that the Service removes
// the endpoint while the program still serves. In an image without a shell the hook fails: Kubernetes reports an event and
// stops the program at once, with calls in flight. This command runs sleep, and rejects every other command.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// longest is longer than any useful grace period. A larger value is a mistake.
const longest = time.Hour

// notUnderstood is the exit status of shells for an unknown command.
const notUnderstood = 127

func main() {
	pause, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(notUnderstood)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// parse parses -c "sleep SECONDS".
func parse(args []string) (time.Duration, error) {
	if len(args) != 2 || args[0] != "-c" {
		return 0, fmt.Errorf("this image has no shell: only -c \"sleep SECONDS\" is understood, not %q", args)
	}
	words := strings.Fields(args[1])
	if len(words) != 2 || words[0] != "sleep" {
		return 0, fmt.Errorf("this image has no shell: only sleep SECONDS is understood, not %q", args[1])
	}
	seconds, err := strconv.ParseFloat(words[1], 64)
	if err != nil || !(seconds >= 0 && seconds <= longest.Seconds()) {
		return 0, fmt.Errorf("sleep: %q is not a number of seconds up to %.0f", words[1], longest.Seconds())
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
