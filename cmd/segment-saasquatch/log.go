package main

import (
	"fmt"
	"io"
	"os"

	"github.com/mattn/go-isatty"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"segment-saasquatch/adapter/config"
)

// newLogger returns a logger without sampling: every event has its line, unless the
// buffer has no room for it.
func newLogger(cfg config.Log, out *logBuffer) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(cfg.Level)
	if err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	encoder := newLogEncoder(cfg, out)
	out.setNotice(func(direct io.Writer, dropped uint64) {
		notice := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(direct), zapcore.WarnLevel))
		notice.Warn("lines of the log are missing: its reader was too slow, or could not be written to",
			zap.Uint64("dropped", dropped))
	})
	sink := zapcore.AddSync(out)
	return zap.New(zapcore.NewCore(encoder, sink, level), zap.ErrorOutput(sink)), nil
}

func newLogEncoder(cfg config.Log, out io.Writer) zapcore.Encoder {
	encoding := zap.NewProductionEncoderConfig()
	encoding.TimeKey = "time"
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoding.EncodeDuration = zapcore.MillisDurationEncoder
	if cfg.Format == "console" || cfg.Format == "auto" && isTerminal(out) {
		encoding.EncodeTime = zapcore.ISO8601TimeEncoder
		encoding.EncodeLevel = zapcore.CapitalColorLevelEncoder
		return zapcore.NewConsoleEncoder(encoding)
	}
	return zapcore.NewJSONEncoder(encoding)
}

func isTerminal(out io.Writer) bool {
	if buffer, ok := out.(*logBuffer); ok {
		out = buffer.out
	}
	file, ok := out.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}
