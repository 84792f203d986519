package adapter_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"

	"segment-saasquatch/adapter"
)

func TestSecretNeverPrints(t *testing.T) {
	const text = "hunter2-hunter2"
	secret := adapter.NewSecret(text)
	holder := struct {
		Key  adapter.Secret
		List []adapter.Secret
		Ptr  *adapter.Secret
	}{secret, []adapter.Secret{secret}, &secret}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t", "%p"} {
		fmt.Fprintf(&out, verb+verb+verb, secret, holder, &holder) //nolint:all
	}
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	if err := yaml.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", secret, "holder", holder)
	for _, encoder := range []zapcore.Encoder{zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()),
		zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())} {
		log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zap.DebugLevel))
		log.Info("x", zap.Any("secret", secret), zap.Any("holder", holder), zap.Stringer("stringer", secret),
			zap.Reflect("reflect", holder))
		log.Sugar().Infof("%v %+v", secret, holder)
	}
	fmt.Fprint(&out, fmt.Errorf("wrap %w", fmt.Errorf("%v", holder)))

	hexed := fmt.Sprintf("%x", text)
	if printed := out.String(); strings.Contains(printed, "hunter2") || strings.Contains(strings.ToLower(printed),
		hexed) {
		t.Errorf("the secret prints:\n%s", printed)
	}
	if secret.Reveal() != text {
		t.Errorf("Reveal returns %q", secret.Reveal())
	}
	if !(adapter.Secret{}).IsZero() || secret.IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestOutcomesHaveNames(t *testing.T) {
	for _, outcome := range adapter.Outcomes {
		text, err := outcome.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back adapter.Outcome
		if err := back.UnmarshalText(text); err != nil || back != outcome {
			t.Errorf("%v came back as %v (%v)", outcome, back, err)
		}
	}
	if got := adapter.Outcome(0).String(); got != "Outcome(0)" {
		t.Errorf("zero prints %q", got)
	}
	var none adapter.Outcome
	if err := none.UnmarshalText([]byte("gone")); err == nil {
		t.Error("no error for an unknown name")
	}
}
