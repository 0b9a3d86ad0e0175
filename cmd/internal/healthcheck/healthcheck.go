// Package healthcheck is the command "health" of the programs, for containers whose image has nothing else to ask with: it asks
// a program that runs whether it is ready.
package healthcheck

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"virtrigaud-provider-truenas/cmd/internal/program"
)

// patience is how long an answer is waited for.
const patience = 5 * time.Second

const longest = 4 << 10 // bytes of an answer that are shown

// Run does what "<name> health HOST:PORT" says: it asks the health address of a running program for /readyz. Its error tells
// that the program is not ready, and why.
func Run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return program.Usage(fmt.Errorf("health: the health address of a running program is needed, such as 127.0.0.1:8080"))
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
	direct := &http.Transport{DisableKeepAlives: true} // A proxy of the environment is for other machines.
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
