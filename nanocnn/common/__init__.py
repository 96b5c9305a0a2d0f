"""What every floor uses: arrays, arguments checked, errors, files, configs, tables, output."""
