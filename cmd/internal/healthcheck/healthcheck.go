// Package healthcheck is the command "health" of the programs, for container images without a shell or an HTTP client: it
// checks the readiness of a running program.
package healthcheck

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/cmd/internal/program"
)

// patience is the deadline for the response.
const patience = 5 * time.Second

const longest = 4 << 10 // maximum size of the shown response, in bytes

// Command returns the row of the command table.
func Command(out io.Writer) program.Command {
	return program.Command{
		Use:      "health HOST:PORT",
		Short:    "Check the readiness of a running program",
		Long:     "Requests /readyz from the health address of a running program. The exit status is 0 when the program is ready, and 1 otherwise.",
		TakeArgs: true,
		Run:      func(ctx context.Context, _ *pflag.FlagSet, args []string) error { return Run(ctx, args, out) },
	}
}

// Run requests /readyz from the health address of a running program. It returns an error with the reason when the program is
// not ready.
func Run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return program.Usage(fmt.Errorf("health: missing argument: the health address of a running program, such as 127.0.0.1:8080"))
	}
	if _, _, err := net.SplitHostPort(args[0]); err != nil {
		return program.Usage(fmt.Errorf("health: %w", err))
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+args[0]+"/readyz", nil)
	if err != nil {
		return program.Usage(fmt.Errorf("health: %w", err))
	}
	direct := &http.Transport{DisableKeepAlives: true} // A proxy of the environment does not apply to loopback.
	resp, err := (&http.Client{Transport: direct}).Do(req)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, longest))
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	text := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s: %s", resp.Status, text)
	}
	_, err = fmt.Fprintln(out, text)
	return err
}
