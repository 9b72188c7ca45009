from localstack_process_lambda.supervisor import main

main()
