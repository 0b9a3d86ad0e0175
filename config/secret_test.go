package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/yaml"
)

func TestNothingPrintsASecret(t *testing.T) {
	c := Config{TrueNAS: TrueNAS{APIKey: NewSecret("sesame")}}
	private := struct {
		key  Secret
		list []Secret
	}{c.TrueNAS.APIKey, []Secret{c.TrueNAS.APIKey}}
	out := &bytes.Buffer{}
	for _, value := range []any{c.TrueNAS.APIKey, &c.TrueNAS.APIKey, c, &c, private, []Secret{c.TrueNAS.APIKey}, map[string]Secret{"k": c.TrueNAS.APIKey}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
			fmt.Fprintf(out, verb+"\n", value)
		}
		asJSON, jsonErr := json.Marshal(value)
		asYAML, yamlErr := yaml.Marshal(value)
		if err := errors.Join(jsonErr, yamlErr); err != nil {
			t.Fatal(err)
		}
		out.Write(asJSON)
		out.Write(asYAML)
		slog.New(slog.NewTextHandler(out, nil)).Info("", "v", value)
		for _, encoder := range []zapcore.Encoder{
			zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
		} {
			log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(out), zap.DebugLevel))
			log.Info("", zap.Any("any", value), zap.Reflect("reflect", value), zap.Error(fmt.Errorf("%v", value)))
			log.Sugar().Infow("", "v", value)
		}
	}
	for _, form := range []string{"sesame", "736573616d65", "736573616D65", "115 101"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("printed as %s:\n%s", form, out)
		}
	}
	if !strings.Contains(out.String(), hidden) {
		t.Error("a secret that is set is printed as if it were empty")
	}
}

func TestSecret(t *testing.T) {
	if NewSecret("sesame").Reveal() != "sesame" || NewSecret("") != (Secret{}) || (Secret{}).Reveal() != "" || fmt.Sprint(Secret{}) != "" {
		t.Error("Reveal does not return the text")
	}
}
