package assemble

import (
	"testing"

	"go.uber.org/zap"

	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
)

func TestInvalidConfiguration(t *testing.T) {
	if _, _, err := Provider(config.Config{}, zap.NewNop()); program.ExitCode(err) != 2 {
		t.Errorf("got %v", err)
	}
}
